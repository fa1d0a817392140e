#pragma once

#include <cstdint>

// Instructions of the streaming products, one a function.
namespace mimo::kernels::cuda::product {

// What the L2 does with lines that are read once, and with others.
__device__ __forceinline__ uint64_t evict_first_policy() {
  uint64_t out;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(out));
  return out;
}
__device__ __forceinline__ uint64_t evict_normal_policy() {
  uint64_t out;
  asm("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(out));
  return out;
}

// 16 bytes to shared memory, past the L1; zeros unless `there`, and then `from` is not read.
__device__ __forceinline__ void copy_async_16(uint32_t to, const void* from, bool there,
                                              uint64_t policy) {
  const int bytes = there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" ::"r"(to),
               "l"(from), "r"(bytes), "l"(policy)
               : "memory");
}

// Four bytes, the same.
__device__ __forceinline__ void copy_async_4(uint32_t to, const void* from, bool there) {
  const int bytes = there ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}

}  // namespace mimo::kernels::cuda::product
