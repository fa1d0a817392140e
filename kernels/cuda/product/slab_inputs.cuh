#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/product/cluster.cuh"
#include "kernels/cuda/product/instructions.cuh"
#include "kernels/cuda/product/slab_args.h"
#include "kernels/cuda/product/slab_outputs.cuh"
#include "kernels/cuda/product/slab_tile.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/tma.cuh"

// Warpgroup 0 of a slab: one thread copies, three warps find where the results go.
namespace mimo::kernels::cuda::product {

constexpr int kSlabHelperBarrier = 1;  // __syncthreads() is 0

template <typename Tile>
class SlabCopies {
 public:
  __device__ SlabCopies(const SlabArgs& p, SlabShare<Tile> share, uint32_t ring,
                        SlabBarriers<Tile> barriers)
      : p_(p), share_(share), ring_(ring), barriers_(barriers), policy_(evict_first_policy()) {}

  // The parts of a stage; the cluster's other blocks bring theirs of the weights.
  __device__ __forceinline__ void expect(int32_t stage) const {
    device::arrive_expecting(barriers_.full(stage), Tile::kStageBytes);
  }
  __device__ __forceinline__ void weights(int32_t stage, int32_t block) const {
    constexpr int kGroups = 8 / Tile::kTiles;  // sixteens of rows in a part
    const bool heads = p_.stream.out_kind == StreamOut::kQkv;
    const int32_t group = share_.tile * kGroups;
    const int32_t y = heads ? group % 4 : share_.unit * 8 + group;
    const int32_t z = heads ? share_.unit * 2 + group / 4 : 0;
    const uint32_t to = ring_ + stage * Tile::kStageBytes + group * 16 * kColumnBlockBytes;
    if constexpr (Tile::kTiles == 1) {
      load_box_5d(to, p_.w_map, column(block), y, z, barriers_.full(stage), policy_);
    } else {
      const auto mask =
          static_cast<uint16_t>(((1 << Tile::kTiles) - 1) << (share_.slice * Tile::kTiles));
      share_box_5d(to, p_.w_map, column(block), y, z, barriers_.full(stage), mask, policy_);
    }
  }
  __device__ __forceinline__ void scales(uint32_t to) const {
    device::arrive_expecting(barriers_.scales(), Tile::kScaleBytes);
    device::load_box_2d(to, p_.scale_map, share_.slice * p_.shape.slice_blocks * 4,
                        share_.tile * Tile::kTokens, barriers_.scales());
  }
  __device__ __forceinline__ void tokens(int32_t stage, int32_t block) const {
    device::load_box_2d(ring_ + stage * Tile::kStageBytes + kSlabWeightBytes, p_.x_map,
                        column(block), share_.tile * Tile::kTokens, barriers_.full(stage));
  }

 private:
  __device__ __forceinline__ int32_t column(int32_t block) const {
    return (share_.slice * p_.shape.slice_blocks + block) * kColumnBlockBytes;
  }

  const SlabArgs& p_;
  SlabShare<Tile> share_;
  uint32_t ring_;
  SlabBarriers<Tile> barriers_;
  uint64_t policy_;
};

// One thread: all stages of the slice; the first weights before the inputs are there.
template <typename Tile>
__device__ void produce_slab(const SlabArgs& p, SlabShare<Tile> share, uint32_t base,
                             SlabBarriers<Tile> barriers) {
  const SlabCopies<Tile> copies(p, share, base, barriers);
  const int32_t count = p.shape.slice_blocks;
  const int32_t ahead = min(count, Tile::kStages);
  for (int32_t b = 0; b < ahead; ++b) {
    copies.expect(b);
    copies.weights(b, b);
  }
  device::wait_for_inputs();
  copies.scales(base + p.shape.scales_at);
  for (int32_t b = 0; b < ahead; ++b) copies.tokens(b, b);
  for (int32_t b = ahead; b < count; ++b) {
    const int32_t stage = b % Tile::kStages;
    wait_parity_cluster(barriers.empty(stage), (b / Tile::kStages - 1) % 2);
    copies.expect(stage);
    copies.weights(stage, b);
    copies.tokens(stage, b);
  }
}

// Where the tokens that the block finishes stand, and how far that turns them.
template <typename Tile>
__device__ __forceinline__ void find_slab_places(const SlabArgs& p, SlabShare<Tile> share,
                                                 uint8_t* shared, int32_t helper) {
  constexpr int32_t kRows = Tile::kSixteens * 16;
  const QkvTarget& target = p.stream.target;
  Place* const places = shared_part<Place>(shared, p.shape.places_at);
  for (int32_t t = helper; t < kRows; t += kSlabHelpers) {
    const int32_t token = share.first_token() + t;
    places[t] = token < p.stream.num_tokens ? place_of(target, token) : Place{0, -1};
  }
  part_barrier(kSlabHelperBarrier, kSlabHelpers);
  const int32_t first = share.unit * kSlabRows;
  if (!slab_turns(p.stream, first) && !slab_turns(p.stream, first + 64)) return;
  float2* const turns = shared_part<float2>(shared, p.shape.turns_at);
  const float frequency = target.frequencies[helper % kSlabTurns];
  for (int32_t t = helper / kSlabTurns; t < kRows; t += kSlabHelpers / kSlabTurns) {
    float2 by;
    sincosf(static_cast<float>(places[t].position) * frequency, &by.x, &by.y);
    turns[t * kSlabTurns + helper % kSlabTurns] = by;
  }
}

// The other threads of its warpgroup.
template <typename Tile>
__device__ void help_slab(const SlabArgs& p, SlabShare<Tile> share, uint8_t* shared,
                          SlabBarriers<Tile> barriers) {
  const auto helper = static_cast<int32_t>(threadIdx.x) - 32;
  if (helper < kSlabRows / 8) {
    const PairRows rows = slab_pair(p.stream, share.unit, helper / 2);
    shared_part<__nv_bfloat16*>(shared, p.shape.columns_at)[helper] =
        slab_column(p.stream, helper % 2 == 0 ? rows.a : rows.b);
  }
  device::wait_for_inputs();
  if (p.stream.out_kind == StreamOut::kQkv) find_slab_places<Tile>(p, share, shared, helper);
  device::arrive(barriers.places());
}

}  // namespace mimo::kernels::cuda::product
