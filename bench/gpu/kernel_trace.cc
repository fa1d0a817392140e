#include "bench/gpu/kernel_trace.h"

#include <cupti.h>
#include <cxxabi.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>

namespace mimo::bench {
namespace {

using CuptiKernel = CUpti_ActivityKernel10;

struct Cupti {
  decltype(&cuptiActivityRegisterCallbacks) register_callbacks = nullptr;
  decltype(&cuptiActivityEnable) enable = nullptr;
  decltype(&cuptiActivityDisable) disable = nullptr;
  decltype(&cuptiActivityFlushAll) flush_all = nullptr;
  decltype(&cuptiActivityGetNextRecord) get_next_record = nullptr;
};

// CUPTI's callbacks carry no word of ours, so what they fill is the process's.
struct Collected {
  Cupti cupti;
  std::vector<KernelSpan> spans;
};
Collected& collected() {
  static Collected all;
  return all;
}

std::string short_name(const char* mangled) {
  int status = 0;
  char* const demangled = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? demangled : mangled;
  std::free(demangled);
  const size_t parameters = name.find("(mimo");
  name = name.substr(0, parameters == std::string::npos ? name.rfind('(') : parameters);
  for (const char* noise : {"mimo::kernels::cuda::", "(anonymous namespace)::", "void "}) {
    for (size_t at = name.find(noise); at != std::string::npos; at = name.find(noise)) {
      name.erase(at, std::char_traits<char>::length(noise));
    }
  }
  return name;
}

constexpr size_t kBufferBytes = 8 << 20;

void CUPTIAPI buffer_requested(uint8_t** buffer, size_t* size, size_t* max_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *size = kBufferBytes;
  *max_records = 0;
}

void CUPTIAPI buffer_completed(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  CUpti_Activity* record = nullptr;
  Collected& all = collected();
  while (all.cupti.get_next_record(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
    const auto* kernel = reinterpret_cast<const CuptiKernel*>(record);
    all.spans.push_back({short_name(kernel->name), static_cast<int64_t>(kernel->start),
                         static_cast<int64_t>(kernel->end)});
  }
  std::free(buffer);
}

Result<void> check(CUptiResult result, const char* what) {
  if (result == CUPTI_SUCCESS) return {};
  return unavailable(std::string(what) + ": CUPTI's error " + std::to_string(result));
}

class Trace final : public KernelTrace {
 public:
  Result<void> begin() override {
    collected().spans.clear();
    return check(collected().cupti.enable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL), "enable");
  }
  Result<std::vector<KernelSpan>> end() override {
    Collected& all = collected();
    TRY(check(all.cupti.flush_all(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED), "flush"));
    TRY(check(all.cupti.disable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL), "disable"));
    std::vector<KernelSpan> spans = std::move(all.spans);
    all.spans.clear();
    std::stable_sort(spans.begin(), spans.end(), [](const KernelSpan& a, const KernelSpan& b) {
      return a.begin_ns < b.begin_ns;
    });
    return spans;
  }
};

template <typename Function>
bool find(void* library, const char* name, Function& to) {
  to = reinterpret_cast<Function>(dlsym(library, name));
  return to != nullptr;
}

}  // namespace

Result<std::unique_ptr<KernelTrace>> KernelTrace::open() {
  void* library = nullptr;
  for (const char* name : {"libcupti.so.13", "/usr/local/cuda/lib64/libcupti.so.13",
                           "/usr/local/cuda/lib/libcupti.so.13",
                           "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so.13"}) {
    if (library == nullptr) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr) return unavailable(std::string("no CUPTI: ") + dlerror());
  Cupti& cupti = collected().cupti;
  const bool all = find(library, "cuptiActivityRegisterCallbacks", cupti.register_callbacks) &&
                   find(library, "cuptiActivityEnable", cupti.enable) &&
                   find(library, "cuptiActivityDisable", cupti.disable) &&
                   find(library, "cuptiActivityFlushAll", cupti.flush_all) &&
                   find(library, "cuptiActivityGetNextRecord", cupti.get_next_record);
  if (!all) return unavailable("CUPTI without its activity calls");
  TRY(check(cupti.register_callbacks(buffer_requested, buffer_completed), "callbacks"));
  return std::unique_ptr<KernelTrace>(std::make_unique<Trace>());
}

}  // namespace mimo::bench
