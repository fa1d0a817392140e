#include "kernels/attention_choice.h"

#include <optional>
#include <vector>

namespace mimo::kernels {
namespace {

constexpr int32_t kMmaSyncCapability = 80;
constexpr int32_t kMmaSyncDimMax = 256;
constexpr int32_t kMmaSyncGroupMax = 16;
constexpr int32_t kTmaCapability = 90;
constexpr int32_t kWgmmaCapability = 90;
constexpr int32_t kTmaKDimMax = 192;
constexpr int32_t kTmaVDimMax = 128;

// A kernel, and what it lacks for a layer; nothing: it can run it.
struct Kernel {
  const char* name;
  bool on_cpu;
  const char* reason;
  std::optional<std::string> (*missing)(const AttentionQuery&);
};

std::string number(int32_t value) { return std::to_string(value); }

bool is_float(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBf16; }

std::string dtypes(const AttentionQuery& query) {
  return std::string(dtype_name(query.k_dtype)) + "/" + dtype_name(query.v_dtype);
}

std::optional<std::string> cpu_lacks(const AttentionQuery& query) {
  if (query.capability != 0) {
    return "it runs on the CPU, and the device is " + number(query.capability);
  }
  if (!is_float(query.k_dtype) || !is_float(query.v_dtype)) {
    return "its cache is F32 or BF16, not " + dtypes(query);
  }
  return std::nullopt;
}

std::optional<std::string> mma_sync_lacks(const AttentionQuery& query) {
  if (query.capability == 0) return "it needs a GPU, and the device is the CPU";
  if (query.capability < kMmaSyncCapability) {
    return "it needs compute capability 80, and the device has " + number(query.capability);
  }
  if (query.k_dtype != DType::kBf16 || query.v_dtype != DType::kBf16) {
    return "its cache is BF16, not " + dtypes(query);
  }
  for (const int32_t dim : {query.k_dim, query.v_dim}) {
    if (dim > kMmaSyncDimMax) {
      return "heads are at most " + number(kMmaSyncDimMax) + " wide, not " + number(dim);
    }
    if (dim % 8 != 0) return "heads are a multiple of 8 wide, not " + number(dim);
  }
  if (query.group > kMmaSyncGroupMax) {
    return "at most " + number(kMmaSyncGroupMax) + " q heads share a kv head, not " +
           number(query.group);
  }
  const int32_t page = query.page_tokens;
  if (page != 16 && page != 32 && page != 64 && page != 128) {
    return "pages hold 16, 32, 64 or 128 tokens, not " + number(page);
  }
  return std::nullopt;
}

std::optional<std::string> tma_lacks(const AttentionQuery& query) {
  if (query.capability == 0) return "it needs a GPU, and the device is the CPU";
  if (query.capability < kTmaCapability) {
    return "it needs compute capability 90, and the device has " + number(query.capability);
  }
  if (query.k_dim > kTmaKDimMax) {
    return "keys are at most " + number(kTmaKDimMax) + " wide, not " + number(query.k_dim);
  }
  if (query.v_dim > kTmaVDimMax) {
    return "values are at most " + number(kTmaVDimMax) + " wide, not " + number(query.v_dim);
  }
  return mma_sync_lacks(query);
}

std::optional<std::string> wgmma_lacks(const AttentionQuery& query) {
  if (query.capability == 0) return "it needs a GPU, and the device is the CPU";
  if (query.capability != kWgmmaCapability) {
    return "it needs compute capability 90 itself, and the device has " + number(query.capability);
  }
  return tma_lacks(query);
}

// Best first.
constexpr Kernel kKernels[] = {
    {"wgmma_sm90", false, "the copy engine brings the keys, prompts' products are warpgroups'",
     wgmma_lacks},
    {"tma", false, "the copy engine streams the keys, shared out evenly by the lengths", tma_lacks},
    {"mma_sync", false, "tensor cores by instructions that every GPU from SM80 on has",
     mma_sync_lacks},
    {"cpu", true, "the device is the CPU", cpu_lacks},
};

Error unimplemented(const std::string& kernel, const std::string& lack) {
  return {Code::kUnimplemented, "attention kernel " + kernel + ": " + lack};
}

Result<void> check(const AttentionQuery& query) {
  const auto positive = [](const char* what, int32_t value) -> Result<void> {
    if (value > 0) return {};
    return invalid_argument(std::string("attention: ") + what + " = " + number(value) +
                            ", expected at least 1");
  };
  TRY(positive("k_dim", query.k_dim));
  TRY(positive("v_dim", query.v_dim));
  TRY(positive("group", query.group));
  TRY(positive("page_tokens", query.page_tokens));
  if (query.window < 0) {
    return invalid_argument("attention: window = " + number(query.window) +
                            ", expected 0 (none) or more");
  }
  return {};
}

// --- The table ----------------------------------------------------------------------------------
struct Example {
  const char* layer;
  AttentionQuery query;
};

std::vector<Example> layers() {
  return {
      {"full", {.k_dim = 192, .v_dim = 128, .group = 16}},
      {"window", {.k_dim = 192, .v_dim = 128, .group = 8, .sinks = true, .window = 128}},
  };
}

std::vector<Example> refused() {
  const AttentionQuery full = {.k_dim = 192, .v_dim = 128, .group = 16, .capability = 90};
  std::vector<Example> out(6, {"full", full});
  out[0].query.k_dtype = out[0].query.v_dtype = DType::kF8E4m3;
  out[1].query.k_dim = 320;
  out[2].query.v_dim = 100;
  out[3].query.wish = "cpu";
  out[4].query.capability = 75;
  out[5].query.capability = 80;
  out[5].query.wish = "tma";
  return out;
}

std::string device_name(int32_t capability) {
  return capability == 0 ? "CPU" : "SM" + number(capability);
}

std::string row(const Example& example) {
  const AttentionQuery& query = example.query;
  const auto choice = choose_attention(query);
  const std::string window = query.window > 0 ? number(query.window) : "none";
  std::string out = std::string("| ") + example.layer + " | " + number(query.k_dim) + "/" +
                    number(query.v_dim) + " | " + number(query.group) + " | " + window + " | " +
                    (query.sinks ? "yes" : "no") + " | " + dtypes(query) + " | " +
                    device_name(query.capability) + " | " + query.wish + " | ";
  return out +
         (choice.ok() ? "`" + choice.value().kernel + "` | " + choice.value().reason
                      : "refused | " + choice.error().message) +
         " |\n";
}

}  // namespace

Result<AttentionChoice> choose_attention(const AttentionQuery& query) {
  TRY(check(query));
  const bool any = query.wish == "auto";
  std::string names = "auto";
  std::optional<Error> refusal;
  for (const Kernel& kernel : kKernels) {
    names += std::string(", ") + kernel.name;
    const bool of_this_device = kernel.on_cpu == (query.capability == 0);
    if (any ? !of_this_device : query.wish != kernel.name) continue;
    const auto lack = kernel.missing(query);
    if (!lack) return AttentionChoice{kernel.name, any ? kernel.reason : "asked for by name"};
    refusal = unimplemented(kernel.name, *lack);
  }
  if (refusal) return *refusal;
  return invalid_argument("no attention kernel is called \"" + query.wish +
                          "\"; there are: " + names);
}

std::string attention_table() {
  std::string out =
      "| layer | K/V width | group | window | sinks | cache | device | wish | kernel | why |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const int32_t capability : {0, 80, 90, 100}) {
    for (Example example : layers()) {
      example.query.capability = capability;
      out += row(example);
    }
  }
  for (const Example& example : refused()) out += row(example);
  return out;
}

}  // namespace mimo::kernels
