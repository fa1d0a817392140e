#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/route/weight_parts.h"
#include "kernels/device/mma.cuh"

// 16 experts x 32 columns times 8 tokens: weights cut into three bf16 parts, whose products with
// the tokens' bf16 are exact.
//
// Lane (group, pair) of a warp has columns 8 pair .. 8 pair + 7 of the experts group and group + 8
// and of the token group. Which column is which of a product's 16 is the same for both, so it does
// not matter; sums are as of mma.cuh: experts its rows, tokens its columns.
namespace mimo::kernels::cuda::router {

constexpr int32_t kMmaExperts = 16;
constexpr int32_t kMmaTokens = 8;
constexpr int32_t kLaneCols = 8;

struct LaneWeights {
  float4 w[2][2];  // [expert group, group + 8][columns 0 .. 3, 4 .. 7]
};

// The parts of four columns a lane, those of step 0 or 1, as the tensor cores take them.
__device__ __forceinline__ void cut_step(const LaneWeights& weights, int32_t step,
                                         uint32_t (&out)[kWeightParts][4]) {
  const float4& low = weights.w[0][step];
  const float4& high = weights.w[1][step];
  uint32_t parts[4][kWeightParts];
  split_pair(low.x, low.y, parts[0]);
  split_pair(high.x, high.y, parts[1]);
  split_pair(low.z, low.w, parts[2]);
  split_pair(high.z, high.w, parts[3]);
#pragma unroll
  for (int part = 0; part < kWeightParts; ++part) {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[part][i] = parts[i][part];
  }
}

// sums[t] += one part of a step's weights times tokens x[t].
template <int kTokenTiles>
__device__ __forceinline__ void multiply_step(const uint32_t (&a)[4], const uint4 (&x)[kTokenTiles],
                                              int32_t step, float (&sums)[kTokenTiles][4]) {
#pragma unroll
  for (int t = 0; t < kTokenTiles; ++t) {
    const uint32_t b[2] = {step == 0 ? x[t].x : x[t].z, step == 0 ? x[t].y : x[t].w};
    device::mma_bf16(sums[t], a, b);
  }
}

// sums[t] += weights times tokens x[t].
template <int kTokenTiles>
__device__ __forceinline__ void multiply_chunk(const LaneWeights& weights,
                                               const uint4 (&x)[kTokenTiles],
                                               float (&sums)[kTokenTiles][4]) {
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    uint32_t a[kWeightParts][4];
    cut_step(weights, step, a);
#pragma unroll
    for (int part = kWeightParts - 1; part >= 0; --part) {
      multiply_step<kTokenTiles>(a[part], x, step, sums);
    }
  }
}

}  // namespace mimo::kernels::cuda::router
