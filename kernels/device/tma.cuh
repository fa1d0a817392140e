#pragma once

#include <cuda.h>

#include <cstdint>

// Boxes of a tensor that the copy engine brings to shared memory; one thread asks. The map is a
// __grid_constant__ parameter. Boxes end up as the map's swizzle says; what lies outside the tensor
// comes as zeros, and counts as bytes. From SM90 on.
namespace mimo::kernels::device {

__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// Coordinates: innermost first. The bytes of the box are counted on `barrier`.
__device__ __forceinline__ void load_box_2d(uint32_t to, const CUtensorMap& map, int32_t x,
                                            int32_t y, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(&map), "r"(x), "r"(y), "r"(barrier)
      : "memory");
}
__device__ __forceinline__ void load_box_3d(uint32_t to, const CUtensorMap& map, int32_t x,
                                            int32_t y, int32_t z, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3, %4}], [%5];" ::"r"(to),
      "l"(&map), "r"(x), "r"(y), "r"(z), "r"(barrier)
      : "memory");
}

// Plain bytes: addresses and size are multiples of 16. The bytes are counted on `barrier`.
__device__ __forceinline__ void load_bytes(uint32_t to, const void* from, uint32_t bytes,
                                           uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

// The same to the L2 alone.
__device__ __forceinline__ void ask_for_bytes(const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}

}  // namespace mimo::kernels::device
