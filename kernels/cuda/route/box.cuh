#pragma once

#include <cuda_runtime.h>

#include <cstdint>

// Words by which a launch's blocks hand values to each other: what is not 0 has been put, and who
// takes it leaves 0 for the next launch. One trip through the L2, where counting arrivals takes a
// fence, the count and a load.
//
// A block may only wait for blocks before it in the grid's order: those have been started, whatever
// else is on the device.
namespace mimo::kernels::cuda::router {

__device__ __forceinline__ uint64_t peek(const uint64_t* word) {
  uint64_t out;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(out) : "l"(word) : "memory");
  return out;
}
__device__ __forceinline__ uint32_t peek(const uint32_t* word) {
  uint32_t out;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(out) : "l"(word) : "memory");
  return out;
}
__device__ __forceinline__ void put(uint64_t* word, uint64_t value) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(word), "l"(value) : "memory");
}
__device__ __forceinline__ void put(uint32_t* word, uint32_t value) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}

// A score's word: its bits below a one.
__device__ __forceinline__ uint64_t score_word(float score) {
  return uint64_t{1} << 32 | __float_as_uint(score);
}
__device__ __forceinline__ float word_score(uint64_t word) {
  return __uint_as_float(static_cast<uint32_t>(word));
}

// A chosen expert's word; -1 is one, too.
__device__ __forceinline__ uint32_t id_word(int32_t id) { return static_cast<uint32_t>(id + 2); }
__device__ __forceinline__ int32_t word_id(uint32_t word) { return static_cast<int32_t>(word) - 2; }

}  // namespace mimo::kernels::cuda::router
