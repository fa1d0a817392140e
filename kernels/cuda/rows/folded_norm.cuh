#pragma once

#include <cstdint>

#include "kernels/cuda/rows/folded_norm.h"
#include "kernels/device/norm.cuh"

// RowOps::add_norm() of few rows by every block of a kernel that reads them: 256 threads, thread i
// has the columns from 8 i and those from 8 (i + 256) on. Bit for bit what add_norm_kernel<1>,
// whose thread i has those from 8 i on, leaves.
namespace mimo::kernels::cuda {

constexpr int32_t kFoldThreads = 256;
constexpr int32_t kFoldVecs = kFoldHiddenMax / 8 / kFoldThreads;
constexpr int32_t kFoldWarps = kFoldHiddenMax / 8 / 32;  // of add_norm_kernel
static_assert(kFoldVecs * kFoldThreads * 8 == kFoldHiddenMax && kFoldWarps <= 32);

// Of a kernel: whether the rows that it reads are there, or its to norm, kTokens at most.
struct ReadyRows {
  static constexpr int kTokens = 0;
};
template <int kTokens_>
struct FoldedNorm {
  static constexpr int kTokens = kTokens_;
};

__device__ __forceinline__ int32_t fold_column(int32_t vec) {
  return (vec * kFoldThreads + static_cast<int32_t>(threadIdx.x)) * 8;
}

template <int kTokens>
struct FoldedRows {
  device::Bf16x8 sums[kTokens][kFoldVecs];  // residual + delta; zeros where there are no columns
};

// scratch: [kTokens][kFoldWarps] in shared memory, for fold_factor() behind a barrier.
template <int kTokens>
__device__ __forceinline__ FoldedRows<kTokens> fold_rows(const AddNormParams& p, float* scratch) {
  using device::Bf16x8;
  constexpr int kAtOnce = kTokens < 2 ? kTokens : 2;  // as many as there are registers for
  FoldedRows<kTokens> out;
#pragma unroll
  for (int first = 0; first < kTokens; first += kAtOnce) {
    Bf16x8 added[kAtOnce][kFoldVecs];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
#pragma unroll
      for (int v = 0; v < kFoldVecs; ++v) {
        const int t = first + i;
        const bool active = t < p.num_tokens && fold_column(v) < p.out.cols;
        const int64_t at = int64_t{t} * p.out.cols + fold_column(v);
        out.sums[t][v] =
            active ? Bf16x8::load(static_cast<const uint16_t*>(p.residual) + at) : Bf16x8::zeros();
        added[i][v] =
            active ? Bf16x8::load(static_cast<const uint16_t*>(p.delta) + at) : Bf16x8::zeros();
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
#pragma unroll
      for (int v = 0; v < kFoldVecs; ++v) {
        const int t = first + i;
        out.sums[t][v] = device::added(out.sums[t][v], added[i][v]);
        const float squares = device::lanes_sum(device::add_squares(out.sums[t][v], 0.0f));
        if (threadIdx.x % 32 == 0) {
          scratch[t * kFoldWarps + v * kFoldThreads / 32 + threadIdx.x / 32] = squares;
        }
      }
    }
  }
  return out;
}

// In every lane of a warp.
__device__ __forceinline__ float fold_factor(const AddNormParams& p, const float* scratch,
                                             int32_t token) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const float squares =
      device::lanes_sum(lane < kFoldWarps ? scratch[token * kFoldWarps + lane] : 0.0f);
  return device::norm_factor(squares, p.out.cols, p.eps);
}

// What add_norm() leaves of eight columns, by one thread of all that have them.
__device__ __forceinline__ void store_folded(const AddNormParams& p, int32_t token, int32_t column,
                                             const device::Bf16x8& sum, const device::Bf16x8& out,
                                             const device::Quantised& quantised) {
  const int64_t at = int64_t{token} * p.out.cols + column;
  sum.store(static_cast<uint16_t*>(p.residual_out) + at);
  out.store(static_cast<uint16_t*>(p.out.values) + at);
  if (p.out.q == nullptr) return;
  *reinterpret_cast<uint2*>(p.out.q + at) = quantised.q;
  if (column % device::kScaleGroup == 0) {
    p.out.q_scales[at / device::kScaleGroup] = quantised.scale;
  }
}

}  // namespace mimo::kernels::cuda
