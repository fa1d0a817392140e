#pragma once

#include <cstdint>

#include "kernels/cuda/rows/folded_norm.h"
#include "kernels/device/norm.cuh"

// RowOps::add_norm() of one row by every block of a kernel that reads it: 256 threads, thread i has
// the columns from 8 i and those from 8 (i + 256) on. Bit for bit what add_norm_kernel<1>, whose
// thread i has those from 8 i on, leaves.
namespace mimo::kernels::cuda {

constexpr int32_t kFoldThreads = 256;
constexpr int32_t kFoldVecs = kFoldHiddenMax / 8 / kFoldThreads;
static_assert(kFoldVecs * kFoldThreads * 8 == kFoldHiddenMax && kFoldWarps <= 32);

// Of a kernel: whether the rows that it reads are there, or one that it norms itself.
struct ReadyRows {
  static constexpr bool kFolds = false;
};
struct FoldedNorm {
  static constexpr bool kFolds = true;
};

__device__ __forceinline__ int32_t fold_column(int32_t vec) {
  return (vec * kFoldThreads + static_cast<int32_t>(threadIdx.x)) * 8;
}

// residual + delta; zeros where there are no columns.
struct FoldedRow {
  device::Bf16x8 sums[kFoldVecs];
};

// squares: [kFoldWarps] in shared memory, for fold_factor() behind a barrier.
__device__ __forceinline__ FoldedRow fold_row(const AddNormParams& p, float* squares) {
  using device::Bf16x8;
  FoldedRow out;
  Bf16x8 added[kFoldVecs];
#pragma unroll
  for (int v = 0; v < kFoldVecs; ++v) {
    const int32_t at = fold_column(v);
    const bool active = at < p.out.cols;
    out.sums[v] =
        active ? Bf16x8::load(static_cast<const uint16_t*>(p.residual) + at) : Bf16x8::zeros();
    added[v] = active ? Bf16x8::load(static_cast<const uint16_t*>(p.delta) + at) : Bf16x8::zeros();
  }
  float sums[kFoldVecs];
#pragma unroll
  for (int v = 0; v < kFoldVecs; ++v) {
    out.sums[v] = device::added(out.sums[v], added[v]);
    sums[v] = device::lanes_sum(device::add_squares(out.sums[v], 0.0f));
  }
  if (threadIdx.x % 32 == 0) {
#pragma unroll
    for (int v = 0; v < kFoldVecs; ++v) {
      squares[v * (kFoldThreads / 32) + static_cast<int32_t>(threadIdx.x / 32)] = sums[v];
    }
  }
  return out;
}

// In every lane of a warp.
__device__ __forceinline__ float fold_factor(const AddNormParams& p, const float* squares) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const float sum = device::lanes_sum(lane < kFoldWarps ? squares[lane] : 0.0f);
  return device::norm_factor(sum, p.out.cols, p.eps);
}

// What add_norm() leaves of eight columns, by one thread of all that have them.
__device__ __forceinline__ void store_folded(const AddNormParams& p, int32_t at,
                                             const device::Bf16x8& sum, const device::Bf16x8& out,
                                             const device::Quantised& quantised) {
  sum.store(static_cast<uint16_t*>(p.residual_out) + at);
  out.store(static_cast<uint16_t*>(p.out.values) + at);
  if (p.out.q == nullptr) return;
  *reinterpret_cast<uint2*>(p.out.q + at) = quantised.q;
  if (at % device::kScaleGroup == 0) {
    p.out.q_scales[at / device::kScaleGroup] = quantised.scale;
  }
}

}  // namespace mimo::kernels::cuda
