#pragma once

#include <cstdint>

// Barriers in shared memory. A barrier's phases are numbered 0, 1, ...; a phase ends when all its
// arrivals have come and all the bytes that it was told to expect. Addresses: shared_address() of
// mma.cuh. From SM90 on.
namespace mimo::kernels::device {

// One thread, before everybody's use; then fence_barriers() in it and a block-wide barrier.
__device__ __forceinline__ void init_barrier(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// What init_barrier() wrote is seen by TMA and by the cluster.
__device__ __forceinline__ void fence_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives, and adds to the bytes that the present phase waits for.
__device__ __forceinline__ void arrive_expecting(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

// Returns when the phase of this parity has ended: at once while the barrier is in the phase after
// it, so parity 1 does not wait on a new barrier.
__device__ __forceinline__ void wait_parity(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra ended;\n"
      "bra again;\n"
      "ended:\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// What this thread wrote to shared memory (copy_async_16() that have ended, too) is seen by what
// TMA and wgmma read after a later barrier.
__device__ __forceinline__ void fence_shared_for_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace mimo::kernels::device
