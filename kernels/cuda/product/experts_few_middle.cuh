#pragma once

#include <cstdint>

#include "kernels/cuda/product/experts_few_args.h"
#include "kernels/cuda/product/experts_few_loads.cuh"

// Blocks hand the middle on in words of two columns, bf16. The two halves of p.middle take turns:
// while one launch uses one, it fills the other with words that no result has, so that whoever
// reads something else has the columns. Blocks that are done are counted, too, but without the
// fence that a barrier takes, which waits for all that is on its way: the count only says when it
// is worth looking for the words.
namespace mimo::kernels::cuda::product {

constexpr uint32_t kFewNothing = ~0u;  // two bf16 that no rounding gives: NaN comes as 0x7fff
constexpr int32_t kFewHalfWords = kFewPairsMax * kFewColumnsMax / 2;

// How many blocks are done with gate_up, of all launches. Each counts itself after it has asked for
// the first time, and the launches before this one have ended: what it finds then is gridDim.x
// times the number of this launch, and less than the next's.
__device__ __forceinline__ unsigned long long count_blocks(const FewArgs& p) {
  unsigned long long out;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(out) : "l"(p.blocks) : "memory");
  return out;
}

// All math threads of the launch.
__device__ __forceinline__ void clear_half(uint32_t* half) {
  constexpr auto kEach = static_cast<int32_t>(sizeof(uint4) / sizeof(uint32_t));
  const auto threads = static_cast<int32_t>(gridDim.x) * kFewMathWarps * 32;
  for (int32_t i = static_cast<int32_t>(blockIdx.x) * kFewMathWarps * 32 +
                   static_cast<int32_t>(threadIdx.x);
       i < kFewHalfWords / kEach; i += threads) {
    reinterpret_cast<uint4*>(half)[i] =
        make_uint4(kFewNothing, kFewNothing, kFewNothing, kFewNothing);
  }
}

__device__ __forceinline__ void put_word(uint32_t* to, uint32_t columns) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(columns) : "memory");
}
__device__ __forceinline__ uint4 peek_words(const uint32_t* from) {
  uint4 out;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w)
               : "l"(from)
               : "memory");
  return out;
}
__device__ __forceinline__ bool complete(uint4 words) {
  return words.x != kFewNothing && words.y != kFewNothing && words.z != kFewNothing &&
         words.w != kFewNothing;
}

}  // namespace mimo::kernels::cuda::product
