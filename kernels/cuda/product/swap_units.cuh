#pragma once

#include <cstdint>

#include "kernels/cuda/product/stream_outputs.cuh"
#include "kernels/cuda/product/swap_args.h"
#include "kernels/cuda/product/swap_inputs.cuh"

// What a unit of the swapped products is: its tile, its weight rows and their scales.
namespace mimo::kernels::cuda::product {

// The units [begin, end) of a cluster, in the order of the tiles, if there are so many of them.
struct Units {
  int32_t begin;
  int32_t end;
};
__device__ __forceinline__ Units units_of_cluster(const SwapArgs& p, int32_t tiles) {
  const int64_t count = int64_t{tiles} * p.stream.units_per_tile;
  const int64_t clusters = gridDim.x / p.shape.k_split;
  const int64_t i = blockIdx.x / p.shape.k_split;
  return {static_cast<int32_t>(i * count / clusters),
          static_cast<int32_t>((i + 1) * count / clusters)};
}

__device__ __forceinline__ int32_t slice_of_block(const SwapShape& shape) {
  return static_cast<int32_t>(blockIdx.x) % shape.k_split;
}
__device__ __forceinline__ Slice slice_of(const SwapShape& shape, int32_t i) {
  return {i * shape.k_blocks / shape.k_split, (i + 1) * shape.k_blocks / shape.k_split};
}

__device__ __forceinline__ int32_t expert_of(const StreamArgs& p, int32_t tile) {
  return p.tiles != nullptr ? __ldcg(p.tiles + tile).x : 0;
}
__device__ __forceinline__ TokenTile tokens_of(const StreamArgs& p, int32_t tile) {
  if (p.tiles == nullptr) return {0, p.num_tokens};
  const int4 found = __ldcg(p.tiles + tile);
  return {found.y, found.z};
}

// The scales of a warp's sixteen rows, of as many units as 32 lanes hold: lane i has those of block
// i % width of unit i / width of them. They are asked for so many units ahead, and their experts
// twice as far, because under full load the memory answers late. One for each eight rows:
// rows_per_scale is a multiple of 8.
class RowScales {
 public:
  __device__ __forceinline__ RowScales(const StreamArgs& p, Slice slice, Units units)
      : begin_(slice.begin), width_(slice.end - slice.begin), count_(32 / width_), units_(units) {
    const int32_t lane = threadIdx.x % 32;
    unit_ = lane / width_;
    block_ = lane - unit_ * width_;
    next_ = load(p, units.begin, expert_at(p, units.begin));
    expert_ = expert_at(p, units.begin + count_);
  }
  // Before each unit, in their order.
  __device__ __forceinline__ void advance(const StreamArgs& p, int32_t i) {
    first_ += width_;
    if (i > units_.begin && first_ + width_ <= 32) return;
    first_ = 0;
    now_ = next_;
    next_ = load(p, i + count_, expert_);
    expert_ = expert_at(p, i + 2 * count_);
  }
  // Of rows a and b and a block of the slice. Whole warps.
  __device__ __forceinline__ float2 of(int32_t block) const {
    return make_float2(__shfl_sync(~0u, now_.x, first_ + block),
                       __shfl_sync(~0u, now_.y, first_ + block));
  }

 private:
  __device__ __forceinline__ int32_t expert_at(const StreamArgs& p, int32_t first) const {
    const int32_t i = first + unit_;
    return unit_ < count_ && i < units_.end ? expert_of(p, i / p.units_per_tile) : -1;
  }
  __device__ __forceinline__ float2 load(const StreamArgs& p, int32_t first, int32_t expert) const {
    if (expert < 0) return {};
    const int32_t unit = (first + unit_) % p.units_per_tile;
    const int32_t warp = threadIdx.x / 32;
    const RowPair rows = swap_rows(p, unit * kSwapMathWarps + warp, 0);
    const float* const scales = p.w_scales + int64_t{expert} * p.w_scales_count + begin_ + block_;
    const auto of_row = [&](int32_t row) {
      return row < 0 ? 0.0f : __ldg(scales + int64_t{row / p.rows_per_scale} * p.scale_cols);
    };
    return make_float2(of_row(rows.a), of_row(rows.b));
  }

  int32_t begin_;
  int32_t width_;  // blocks of a unit
  int32_t count_;  // units of a load
  Units units_;
  int32_t unit_;  // of this lane
  int32_t block_;
  int32_t first_ = 0;  // lane of the present unit's first block
  int32_t expert_;
  float2 now_ = {};
  float2 next_;
};

}  // namespace mimo::kernels::cuda::product
