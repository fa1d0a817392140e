#include "kernels/cpu/simd.h"

#include <vector>

namespace mimo::kernels {

extern const Simd kSimdPlain;
#if defined(__x86_64__)
extern const Simd kSimdAvx2;
extern const Simd kSimdAvx512;
#endif

std::span<const Simd* const> simd_sets() {
  static const std::vector<const Simd*> kSets = [] {
    std::vector<const Simd*> sets{&kSimdPlain};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      sets.push_back(&kSimdAvx2);
      if (__builtin_cpu_supports("avx512f")) sets.push_back(&kSimdAvx512);
    }
#endif
    return sets;
  }();
  return kSets;
}

const Simd& simd() { return *simd_sets().back(); }

}  // namespace mimo::kernels
