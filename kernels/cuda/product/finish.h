#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/product/qkv_target.h"

namespace mimo::kernels::cuda::product {

// Rotates, scales and puts away a product's sums.
//   wide [num_tokens, (q heads + kv heads) * k_dim + kv heads * v_dim] f32
void finish_qkv(const float* wide, int32_t num_tokens, const QkvTarget& target,
                cudaStream_t stream);

// out[t] = sum over k of weights[t, k] * y[row_of[t, k]], in float and in k's order; rows of -1 are
// left out. `row_of` and `weights` are read early: they were there before the kernel that is queued
// just before, and that one waits for its inputs before it lets the next start.
struct CombineParams {
  const void* y = nullptr;          // [*, hidden] bf16
  const int32_t* row_of = nullptr;  // [T, K]
  const float* weights = nullptr;   // [T, K]
  void* out = nullptr;              // [T, hidden] bf16
  int32_t num_tokens = 0;
  int32_t experts_per_token = 0;
  int32_t hidden = 0;
};
void combine(const CombineParams& p, cudaStream_t stream);

}  // namespace mimo::kernels::cuda::product
