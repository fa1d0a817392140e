#pragma once

#include <cstdint>

// Words of the four lanes that hold a row of a fragment (mma.cuh, wgmma.cuh).
namespace mimo::kernels::device {

// Lane 4 i + j of a quad has columns 2 j and the next of four groups of eight columns of 16 bits;
// afterwards all eight columns of group j. Whole warps.
__device__ __forceinline__ void turn_quad(uint32_t (&v)[4]) {
  const uint32_t lane = threadIdx.x;
#pragma unroll
  for (uint32_t bit = 1; bit <= 2; bit *= 2) {
#pragma unroll
    for (uint32_t low = 0; low < 4; ++low) {
      if (low & bit) continue;
      const uint32_t other = __shfl_xor_sync(~0u, lane & bit ? v[low] : v[low | bit], bit);
      if (lane & bit) {
        v[low] = other;
      } else {
        v[low | bit] = other;
      }
    }
  }
}

}  // namespace mimo::kernels::device
