#pragma once

#include <cstdint>

#include "kernels/cuda/product/stream_outputs.cuh"
#include "kernels/cuda/product/swap_args.h"
#include "kernels/device/mma.cuh"

// Results of the swapped products on their way to memory.
namespace mimo::kernels::cuda::product {

// Where 16 bytes, half a token's results of a warp, lie in the warp's part.
__device__ __forceinline__ int32_t turned_at(int32_t token, int32_t half) {
  return token * 32 + (half ^ token / 4 % 2) * 16;
}

// Four 8 x 8 matrices, each thread's two of column lane / 4, to rows of 16 bytes; lane i has the
// address of row i % 8 of matrix i / 8. Whole warps.
__device__ __forceinline__ void store_turned(uint32_t address, const uint32_t (&x)[4]) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
      "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3])
      : "memory");
}

// Whole 16 bytes of bf16 results, turned around in this warp's part of shared memory: sixteen
// tokens at a time, two halves of eight results each, or one where gate and up become one.
template <int kEights>
__device__ __forceinline__ void store_vectors(const SwapArgs& p, int32_t sixteen, TokenTile tile,
                                              const float (&total)[4 * kEights], uint8_t* shared) {
  if (sixteen * kStreamRows >= p.stream.rows) return;
  const bool halves = p.stream.out_kind == StreamOut::kBf16;
  const int32_t lane = threadIdx.x % 32;
  uint8_t* const part = shared + p.shape.turn_at + threadIdx.x / 32 * kSwapTurnBytes;
  const uint32_t mine =
      device::shared_address(part) + turned_at(lane % 8 + lane / 16 * 8, lane / 8 % 2);
  const int32_t vector_bytes = halves ? 32 : 16;
  auto* const out = static_cast<uint8_t*>(p.stream.out) + sixteen * vector_bytes + lane % 2 * 16;
#pragma unroll
  for (int n = 0; n < kEights; n += 2) {
    if (n * 8 >= tile.rows) break;
    uint32_t x[4] = {};
#pragma unroll
    for (int eight = 0; eight < 2 && n + eight < kEights; ++eight) {
      const float* const sums = total + 4 * (n + eight);
      if (halves) {
        x[2 * eight] = device::pack_bf16(sums[0], sums[1]);
        x[2 * eight + 1] = device::pack_bf16(sums[2], sums[3]);
      } else {
        x[2 * eight] = device::pack_bf16(silu_mul(sums[0], sums[2]), silu_mul(sums[1], sums[3]));
      }
    }
    __syncwarp();  // silu_mul() may have taken lanes apart
    store_turned(mine, x);
    __syncwarp();
    const int32_t token = n * 8 + lane / 2;
    if (token < tile.rows && (halves || lane % 2 == 0)) {
      const auto found = *reinterpret_cast<const uint4*>(part + turned_at(lane / 2, lane % 2));
      *reinterpret_cast<uint4*>(out + int64_t{tile.first + token} * p.stream.out_cols * 2) = found;
    }
    __syncwarp();
  }
}

}  // namespace mimo::kernels::cuda::product
