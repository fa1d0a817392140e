#pragma once

#include <cstdint>

// Copies from global to shared memory that go on while the thread works, 16 bytes each.
namespace mimo::kernels::device {

// `to`: an address in shared memory (shared_address() in mma.cuh); both 16-byte aligned.
__device__ __forceinline__ void copy_async_16(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

// Zeros where not `there`; `from` is not read then, but must be an address.
__device__ __forceinline__ void copy_async_16(uint32_t to, const void* from, bool there) {
  const int bytes = there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}

// Eight bytes, both 8-byte aligned.
__device__ __forceinline__ void copy_async_8(uint32_t to, const void* from, bool there) {
  const int bytes = there ? 8 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}

// This thread's copies since its last commit are one group.
__device__ __forceinline__ void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// At most the newest kPending groups of this thread are still under way. Other threads see what
// was copied after a barrier.
template <int kPending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace mimo::kernels::device
