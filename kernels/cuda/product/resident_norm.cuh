#pragma once

#include <cstdint>

#include "kernels/cuda/product/cluster.cuh"
#include "kernels/cuda/product/resident_tile.cuh"
#include "kernels/cuda/product/stream_inputs.cuh"
#include "kernels/cuda/rows/folded_norm.cuh"
#include "kernels/device/mbarrier.cuh"

// The token of ResidentStream's kernel, where it norms it itself: every block needs the whole row's
// squares and makes its slice of the columns, 256 vectors of eight, one a math thread.
namespace mimo::kernels::cuda::product {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

static_assert(kMathThreads == kFoldThreads, "a thread has the same columns in both");

template <typename Tile>
struct NormSlice {
  static_assert(Tile::kFp8 && Tile::kHalves == 2, "a slice is a vector a thread");

  __device__ explicit NormSlice(Share<Tile> share) : vec(share.slice) {}
  __device__ __forceinline__ int32_t column() const { return fold_column(vec); }
  __device__ __forceinline__ int32_t block() const {
    return static_cast<int32_t>(threadIdx.x) / device::kScaleThreads;
  }

  int32_t vec;  // of each thread's
};

// Before the inputs are there: zeros for the tokens that are not.
template <typename Tile>
__device__ __forceinline__ void clear_tokens(const ResidentArgs& p, uint8_t* shared) {
  constexpr int32_t kBytes = Tile::kBlocks * Tile::kTokens * kColumnBlockBytes;
  for (auto at = static_cast<int32_t>(threadIdx.x) * 16; at < kBytes; at += kMathThreads * 16) {
    *shared_part<uint4>(shared, p.shape.tokens_at + at) = make_uint4(0, 0, 0, 0);
  }
}

// The math warps: the token and its scales as bring_tokens() and copy_token_scales() leave them,
// and what add_norm() leaves. weight: the thread's columns' of the slice.
template <typename Tile>
__device__ __forceinline__ void norm_token(const ResidentArgs& p, Share<Tile> share,
                                           const float (&weight)[8], uint8_t* shared) {
  using device::Bf16x8;
  const NormSlice<Tile> slice(share);
  float* const squares = shared_part<float>(shared, p.shape.squares_at);
  const FoldedRow row = fold_row(p.norm, squares);
  part_barrier(kMathBarrier, kMathThreads);

  const Bf16x8 sum = slice.vec == 0 ? row.sums[0] : row.sums[1];
  const Bf16x8 out = device::normed(sum, fold_factor(p.norm, squares), weight);
  const device::Quantised quantised = device::quantised(out);
  // The first token: its chunks of 16 bytes lie in their order.
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t at = slice.block() * Tile::kTokens;
  *shared_part<uint2>(shared, p.shape.tokens_at + at * kColumnBlockBytes +
                                  thread % device::kScaleThreads * 8) = quantised.q;
  if (thread % device::kScaleThreads == 0) {
    shared_part<float>(shared, p.shape.scales_at)[at] = quantised.scale;
  }
  device::fence_shared_for_async();
  part_barrier(kMathBarrier, kMathThreads);
  const int32_t units = static_cast<int32_t>(gridDim.x) / p.shape.k_split;
  if (slice.block() % units == share.unit)
    store_folded(p.norm, slice.column(), sum, out, quantised);
}

#endif

}  // namespace mimo::kernels::cuda::product
