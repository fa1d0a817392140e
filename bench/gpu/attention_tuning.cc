// Attention of one rank of four at the released model's shapes, by each kernel and tuning: by
// itself, and behind kernels that look like the product before it in a step, whose time is taken
// off.
//
//   attention_tuning [--only decode|prompt] [--case PART OF A NAME]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "base/log.h"
#include "bench/gpu/arguments.h"
#include "bench/gpu/attention_tuning_weights.h"
#include "bench/gpu/graph_timer.h"
#include "kernels/cuda/attention/attention_ops.h"
#include "kernels/cuda/random_fill.h"

namespace mimo::bench {
namespace {

using kernels::AttentionParams;
using kernels::Purpose;
using kernels::cuda::AttentionOps;
using kernels::cuda::DecodeTuning;
using kernels::cuda::DeviceContext;

constexpr int32_t kPage = 64;
constexpr int32_t kQHeads = 16;

struct Case {
  const char* name;
  bool full;
  std::vector<int32_t> contexts;  // of each run
  int32_t rows = 1;               // of each run
};

struct Variant {
  const char* name;
  DecodeTuning tuning;
};

std::vector<int32_t> mixed(int32_t count, int32_t longest) {
  std::mt19937 generator(3);
  std::vector<int32_t> out;
  for (int32_t i = 0; i < count; ++i) {
    const double share = static_cast<double>(generator()) / 4294967296.0;
    out.push_back(64 + static_cast<int32_t>(share * share * longest));
  }
  return out;
}

std::vector<int32_t> same(int32_t count, int32_t context) {
  return std::vector<int32_t>(static_cast<size_t>(count), context);
}

std::vector<Case> decode_cases() {
  return {{"B1 4k", true, same(1, 4096)},
          {"B1 32k", true, same(1, 32768)},
          {"B1 128k", true, same(1, 131072)},
          {"B16 4k", true, same(16, 4096)},
          {"B16 32k", true, same(16, 32768)},
          {"B64 4k", true, same(64, 4096)},
          {"B64 32k", true, same(64, 32768)},
          {"B256 4k", true, same(256, 4096)},
          {"B64 mixed to 32k", true, mixed(64, 32768)},
          {"B1 4k, 2 rows", true, same(1, 4096), 2},
          {"B1 4k, 4 rows", true, same(1, 4096), 4},
          {"B1 32k, 4 rows", true, same(1, 32768), 4},
          {"B16 4k, 2 rows", true, same(16, 4096), 2},
          {"B16 4k, 4 rows", true, same(16, 4096), 4},
          {"B16 32k, 4 rows", true, same(16, 32768), 4},
          {"B64 4k, 2 rows", true, same(64, 4096), 2},
          {"B64 4k, 4 rows", true, same(64, 4096), 4},
          {"window B1", false, same(1, 4096)},
          {"window B16", false, same(16, 4096)},
          {"window B64", false, same(64, 4096)},
          {"window B64 unaligned", false, same(64, 4130)},
          {"B64 32k, 4 rows", true, same(64, 32768), 4},
          {"window B1, 2 rows", false, same(1, 4096), 2},
          {"window B1, 4 rows", false, same(1, 4096), 4},
          {"window B64, 2 rows", false, same(64, 4096), 2},
          {"window B64, 4 rows", false, same(64, 4096), 4},
          {"window B256", false, same(256, 4096)},
          {"window B256, 4 rows", false, same(256, 4096), 4}};
}

std::vector<Case> prompt_cases() {
  return {{"prompt 2k", true, same(1, 2048), 2048},
          {"prompt 8k", true, same(1, 8192), 8192},
          {"prompt 8k of 32k", true, same(1, 32768), 8192},
          {"prompt 4 x 2k", true, same(4, 2048), 2048},
          {"window prompt 2k", false, same(1, 2048), 2048},
          {"window prompt 8k", false, same(1, 8192), 8192}};
}

template <typename T>
T* upload(DeviceContext& context, const std::vector<T>& values) {
  T* const out =
      context.allocate_array<T>(static_cast<int64_t>(values.size()), Purpose::kWorkspace).value();
  CUDA_CHECK(cudaMemcpy(out, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  return out;
}

// `of` over pools in shuffled page order; out and q are as large as its rows.
AttentionParams params_of(DeviceContext& context, const Case& of, int64_t* num_pages) {
  AttentionParams p;
  p.num_q_heads = kQHeads;
  const auto num_runs = static_cast<int32_t>(of.contexts.size());
  std::vector<int32_t> row_begin = {0};
  for (int32_t s = 1; s <= num_runs; ++s) row_begin.push_back(s * of.rows);
  int32_t stride = 1;
  for (const int32_t length : of.contexts) {
    const int32_t first = of.full ? 0 : std::max(0, length - of.rows - 127) / kPage;
    stride = std::max(stride, (length + kPage - 1) / kPage - first);
  }
  *num_pages = int64_t{num_runs} * stride;
  std::vector<int32_t> pages(static_cast<size_t>(*num_pages));
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(i);
  std::shuffle(pages.begin(), pages.end(), std::mt19937(9));
  p.runs = {.num_tokens = num_runs * of.rows,
            .num_runs = num_runs,
            .row_begin = upload(context, row_begin),
            .context = upload(context, of.contexts),
            .rows_per_run_max = of.rows};
  p.kv = {.kv_heads = of.full ? 1 : 2,
          .k_dim = 192,
          .v_dim = 128,
          .page_tokens = kPage,
          .pages = upload(context, pages),
          .stride = stride};
  p.window = of.full ? 0 : 128;
  if (!of.full) p.sinks = upload(context, std::vector<float>(kQHeads, 0.5f));
  p.scale = 1.0f / std::sqrt(192.0f);
  return p;
}

// Weights that are read before an attention.
struct Weights {
  static constexpr int64_t kBytes = 3712 * 4096;
  const uint8_t* values = nullptr;
  int32_t sets = 0;
  uint32_t* out = nullptr;
};

Result<Weights> make_weights(DeviceContext& context) {
  Weights out;
  out.sets = 20;
  TRY_ASSIGN(out.values,
             context.allocate_array<uint8_t>(Weights::kBytes * out.sets, Purpose::kWeights));
  TRY_ASSIGN(out.out, context.allocate_array<uint32_t>(1, Purpose::kWorkspace));
  return out;
}

void read_one(DeviceContext& context, const Weights& weights, int32_t i) {
  read_weights(weights.values + Weights::kBytes * (i % weights.sets), Weights::kBytes, weights.out,
               context.num_sms(), context.stream());
}

// Bytes that must be read or written once, and the products' operations.
void print(const Case& of, const Variant& variant, const Timing& timing, double behind_us) {
  double bytes = 0;
  double flops = 0;
  for (const int32_t context : of.contexts) {
    const double keys = of.full ? context : std::min(context, 127 + of.rows);
    const double pairs = of.full ? of.rows * (context - (of.rows - 1) / 2.0)
                                 : of.rows * static_cast<double>(std::min(context, 128));
    bytes += keys * (of.full ? 1 : 2) * 640.0 + of.rows * kQHeads * 640.0;
    flops += 2.0 * 320 * pairs * kQHeads;
  }
  std::printf(
      "%-20s %-8s %8.2f us (%.2f to %.2f) behind %8.2f us %5.0f GB/s %5.1f%% %4.0f TF/s %5.1f%%\n",
      of.name, variant.name, timing.us, timing.p10, timing.p90, behind_us, bytes / timing.us * 1e-3,
      bytes / timing.us * 1e6 / kRoofBytesPerSecond * 100, flops / timing.us * 1e-6,
      flops / timing.us * 1e6 / kRoofBf16Flops * 100);
  std::fflush(stdout);
}

Result<void> bench_case(const Case& of, const std::vector<Variant>& variants) {
  TRY_ASSIGN(const std::unique_ptr<DeviceContext> context, DeviceContext::create({}));
  int64_t num_pages = 0;
  AttentionParams p = params_of(*context, of, &num_pages);
  const int64_t slots = num_pages * p.kv.kv_heads * kPage;
  const auto sets =
      static_cast<int32_t>(std::clamp<int64_t>(int64_t{300'000'000} / (slots * 640), 2, 48));
  TRY_ASSIGN(uint16_t* const k, context->allocate_array<uint16_t>(slots * 192 * sets, Purpose::kK));
  TRY_ASSIGN(uint16_t* const v, context->allocate_array<uint16_t>(slots * 128 * sets, Purpose::kV));
  const int64_t q_rows = int64_t{p.runs.num_tokens} * kQHeads;
  TRY_ASSIGN(uint16_t* const q,
             context->allocate_array<uint16_t>(q_rows * 192, Purpose::kWorkspace));
  TRY_ASSIGN(p.out, context->allocate_array<uint16_t>(q_rows * 128, Purpose::kWorkspace));
  kernels::cuda::fill_normal_bf16(k, slots * 192 * sets, 1.0f, 5, context->stream());
  kernels::cuda::fill_normal_bf16(v, slots * 128 * sets, 1.0f, 6, context->stream());
  kernels::cuda::fill_normal_bf16(q, q_rows * 192, 1.0f, 7, context->stream());
  p.q = q;
  CUDA_CHECK(cudaStreamSynchronize(context->stream()));
  TRY_ASSIGN(const Weights weights, make_weights(*context));
  const int32_t count = std::max(sets, 20);
  const Timing weights_alone =
      time_in_graph(context->stream(), count, [&](int32_t i) { read_one(*context, weights, i); });
  for (const Variant& variant : variants) {
    if (!of.full && &variant != &variants.front()) continue;  // the window kernel is one
    AttentionOps ops(*context, variant.tuning);
    kernels::StepLimits limits;
    limits.v_dim_max = 128;
    TRY(ops.prepare(limits));
    const auto attend = [&](int32_t i) {
      AttentionParams now = p;
      now.kv.k = k + i % sets * slots * 192;
      now.kv.v = v + i % sets * slots * 128;
      ops.attention(now);
    };
    const Timing alone = time_in_graph(context->stream(), sets, attend);
    const Timing both = time_in_graph(context->stream(), count, [&](int32_t i) {
      read_one(*context, weights, i);
      attend(i);
    });
    print(of, variant, alone, both.us - weights_alone.us);
  }
  return {};
}

int run(const std::string& only, const std::string& case_filter) {
  const std::vector<Variant> decode = {{"default", {}},
                                       {"mma_sync", {.wish = "mma_sync"}},
                                       {"invariant", {.batch_invariant = true}},
                                       {"cost 0", {.wish = "tma", .unit_cost = 0}}};
  const std::vector<Variant> prompt = {{"mma_sync", {.wish = "mma_sync"}},
                                       {"wgmma_sm90", {.wish = "wgmma_sm90"}}};

  for (const bool prompts : {false, true}) {
    if (!only.empty() && only != (prompts ? "prompt" : "decode")) continue;
    for (const Case& of : prompts ? prompt_cases() : decode_cases()) {
      if (std::string(of.name).find(case_filter) == std::string::npos) continue;
      if (const auto done = bench_case(of, prompts ? prompt : decode); !done.ok()) {
        std::fprintf(stderr, "%s: %s\n", of.name, done.error().to_string().c_str());
        return 1;
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace mimo::bench

int main(int argc, char** argv) {
  const auto arguments = mimo::bench::Arguments::parse(argc, argv, {"only", "case"});
  if (!arguments.has_value()) return 2;
  mimo::log_configure("attention_tuning", mimo::LogLevel::kWarning);
  return mimo::bench::run(arguments->text("only", ""), arguments->text("case", ""));
}
