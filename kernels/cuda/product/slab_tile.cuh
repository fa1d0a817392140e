#pragma once

#include <cstdint>

#include "kernels/cuda/product/slab_plan.h"
#include "kernels/device/mbarrier.cuh"

// What a block of a slab is: its tile, its barriers, its share of the product.
namespace mimo::kernels::cuda::product {

template <int kTokens_, int kTiles_, int kSplit_>
struct SlabBlock {
  static constexpr int kTokens = kTokens_;  // SlabTile
  static constexpr int kTiles = kTiles_;
  static constexpr int kSplit = kSplit_;
  static constexpr int kCluster = kTiles * kSplit;
  // With 64 tokens the warpgroups take column blocks in turn.
  static constexpr bool kTurns = kTokens == kSlabTokens;
  static constexpr SlabTile kShape = {kTokens, kTiles, kSplit};
  static constexpr int kStageBytes = kShape.stage_bytes();
  static constexpr int kStages = kShape.stages();
  // The sums that a block finishes: so many times sixteen tokens, from so many warpgroups of each
  // slice.
  static constexpr int kSixteens = kTokens / 16 / kSplit;
  static constexpr int kGroups = kTurns ? 2 : 1;
  static constexpr int kSourceBytes = kShape.source_bytes();
  static constexpr int kSentBytes = kShape.sums_bytes();
  static constexpr int kScaleBytes = kShape.scale_bytes();
  static constexpr int kPairs = kSixteens;  // of eights, that a warp finishes
  static_assert(kGroups * kSourceBytes <= kStages * kStageBytes,
                "kept sums lie where the ring was");
};

constexpr int kSlabMathThreads = 256;
constexpr int kSlabMathWarps = kSlabMathThreads / 32;
constexpr int kSlabHelpers = 96;  // threads of warpgroup 0 beside the copying warp

template <typename Tile>
struct SlabBarriers {
  __device__ __forceinline__ uint32_t full(int32_t stage) const { return at + stage * 16; }
  __device__ __forceinline__ uint32_t empty(int32_t stage) const { return at + stage * 16 + 8; }
  __device__ __forceinline__ uint32_t sums() const { return full(Tile::kStages); }
  __device__ __forceinline__ uint32_t places() const { return sums() + 8; }
  __device__ __forceinline__ uint32_t scales() const { return sums() + 16; }

  uint32_t at;
};

template <typename Tile>
__device__ __forceinline__ void init_slab_barriers(SlabBarriers<Tile> barriers) {
  for (int32_t s = 0; s < Tile::kStages; ++s) {
    device::init_barrier(barriers.full(s), 1);
    device::init_barrier(barriers.empty(s), (Tile::kTurns ? 4 : kSlabMathWarps) * Tile::kTiles);
  }
  device::init_barrier(barriers.sums(), 1 + kSlabMathThreads);
  device::init_barrier(barriers.places(), kSlabHelpers);
  device::init_barrier(barriers.scales(), 1);
  device::fence_barriers();
  device::arrive_expecting(barriers.sums(), Tile::kSentBytes);
}

// Which part of the product is this block's.
template <typename Tile>
struct SlabShare {
  __device__ SlabShare()
      : unit(static_cast<int32_t>(blockIdx.x) / Tile::kCluster),
        slice(static_cast<int32_t>(blockIdx.x) % Tile::kCluster / Tile::kTiles),
        tile(static_cast<int32_t>(blockIdx.x) % Tile::kTiles) {}

  // Of the tokens that it finishes.
  __device__ __forceinline__ int32_t first_token() const {
    return tile * Tile::kTokens + slice * Tile::kSixteens * 16;
  }
  __device__ __forceinline__ uint32_t rank_of(int32_t of_slice, int32_t of_tile) const {
    return static_cast<uint32_t>(of_slice * Tile::kTiles + of_tile);
  }

  int32_t unit;
  int32_t slice;
  int32_t tile;
};

}  // namespace mimo::kernels::cuda::product
