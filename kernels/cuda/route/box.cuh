#pragma once

#include <cuda_runtime.h>

#include <cstdint>

// Words by which a launch's blocks hand values to each other: what is not 0 has been put, and who
// takes it leaves 0 for the next launch. One trip through the L2, where counting arrivals takes a
// fence, the count and a load.
//
// Only a launch's last blocks may wait, no more than there are multiprocessors, and each only after
// it has put all that is its own: the blocks before them end by themselves, so these get their
// places whatever else is on the device, and none waits for one that cannot start.
namespace mimo::kernels::cuda::router {

__device__ __forceinline__ uint32_t peek(const uint32_t* word) {
  uint32_t out;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(out) : "l"(word) : "memory");
  return out;
}
// Each word for itself; `words` is 16-byte aligned, here and in put().
__device__ __forceinline__ uint4 peek_four(const uint32_t* words) {
  uint4 out;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w)
               : "l"(words)
               : "memory");
  return out;
}
__device__ __forceinline__ void put(uint32_t* word, uint32_t value) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}
__device__ __forceinline__ void put(uint32_t* words, const uint4& values) {
  asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(words), "r"(values.x),
               "r"(values.y), "r"(values.z), "r"(values.w)
               : "memory");
}

// A score's word: its bits turned over. No sum is the one NaN that this makes 0.
__device__ __forceinline__ uint32_t score_word(float score) {
  return ~(isnan(score) ? 0x7fffffffu : __float_as_uint(score));
}
__device__ __forceinline__ float word_score(uint32_t word) { return __uint_as_float(~word); }

// A chosen expert's word; -1 is one, too.
__device__ __forceinline__ uint32_t id_word(int32_t id) { return static_cast<uint32_t>(id + 2); }
__device__ __forceinline__ int32_t word_id(uint32_t word) { return static_cast<int32_t>(word) - 2; }

}  // namespace mimo::kernels::cuda::router
