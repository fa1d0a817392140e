#pragma once

#include <cuda.h>

#include <cstdint>

// Instructions between the blocks of a cluster, and copies of the copy engine with a hint. From
// SM90 on.
namespace mimo::kernels::cuda::product {

// All threads of the cluster's blocks that have not ended; what was written before is seen after.
__device__ __forceinline__ void cluster_barrier() {
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;\n" ::
          : "memory");
}

// Its two halves: what was written before the one is seen after the other.
__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
// The first half where nothing that was written need be seen, but barriers that fence_barriers()
// follows: a release for the cluster waits until the memory has acknowledged all that this thread
// wrote.
__device__ __forceinline__ void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// The same place in the shared memory of block `rank` of the cluster.
__device__ __forceinline__ uint32_t address_in(uint32_t address, uint32_t rank) {
  uint32_t out;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(out) : "r"(address), "r"(rank));
  return out;
}

// 16 bytes to another block of the cluster, counted on a barrier of that block.
__device__ __forceinline__ void send(uint32_t to, float a, float b, float c, float d,
                                     uint32_t barrier) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, "
      "[%5];" ::"r"(to),
      "f"(a), "f"(b), "f"(c), "f"(d), "r"(barrier)
      : "memory");
}

// As wait_parity() of kernels/device/mbarrier.cuh, for what other blocks of the cluster sent.
__device__ __forceinline__ void wait_parity_cluster(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@done bra ended;\n"
      "bra again;\n"
      "ended:\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// A box of a tensor of rank 5; see kernels/device/tma.cuh.
__device__ __forceinline__ void load_box_5d(uint32_t to, const CUtensorMap& map, int32_t x,
                                            int32_t y, int32_t z, uint32_t barrier,
                                            uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%2, %3, %3, %4, %5}], [%6], %7;" ::"r"(to),
      "l"(&map), "r"(x), "r"(0), "r"(y), "r"(z), "r"(barrier), "l"(policy)
      : "memory");
}

// The same box to the L2 alone.
__device__ __forceinline__ void ask_for_box_5d(const CUtensorMap& map, int32_t x, int32_t y,
                                               int32_t z) {
  asm volatile(
      "cp.async.bulk.prefetch.tensor.5d.L2.global.tile [%0, {%1, %2, %2, %3, %4}];" ::"l"(&map),
      "r"(x), "r"(0), "r"(y), "r"(z)
      : "memory");
}

// The box of load_box_5d(), to the same place in all blocks of `mask`, each of whose barriers
// counts its bytes.
__device__ __forceinline__ void share_box_5d(uint32_t to, const CUtensorMap& map, int32_t x,
                                             int32_t y, int32_t z, uint32_t barrier, uint16_t mask,
                                             uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%2, %3, %3, %4, %5}], [%6], %7, %8;" ::"r"(
          to),
      "l"(&map), "r"(x), "r"(0), "r"(y), "r"(z), "r"(barrier), "h"(mask), "l"(policy)
      : "memory");
}

// As arrive() of kernels/device/mbarrier.cuh, on a barrier of any block of the cluster. It hands
// over no writes to other blocks: with a release for the cluster it takes some 500 cycles.
__device__ __forceinline__ void arrive_in(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// A barrier of `count` threads of the block; whole warps.
__device__ __forceinline__ void part_barrier(int32_t id, int32_t count) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(count) : "memory");
}

}  // namespace mimo::kernels::cuda::product
