#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/route/box.cuh"
#include "kernels/cuda/route/expert_plan.h"
#include "kernels/cuda/route/plan_limits.h"

// The experts' plan of few pairs, by one block: which items an expert serves is a row of bits.
namespace mimo::kernels::cuda::router {

struct PlanShared {
  uint32_t items[kPlanWordsMax][kPlanExpertsMax];
  int32_t first_row[kPlanExpertsMax];
  uint32_t warp_sums[32];
};

// Where plan_block() finds a pair's id, twice: a kernel's before ..
struct ReadyIds {
  const int32_t* ids = nullptr;  // [T, K]
  __device__ __forceinline__ int32_t first(int32_t i) const { return ids[i]; }
  __device__ __forceinline__ int32_t last(int32_t i) const { return ids[i]; }
};
// .. or other blocks' of this launch.
struct BoxIds {
  uint32_t* words = nullptr;  // [T, K]
  __device__ __forceinline__ int32_t first(int32_t i) const {
    uint32_t word = 0;
    while (word == 0) word = peek(words + i);
    return word_id(word);
  }
  __device__ __forceinline__ int32_t last(int32_t i) const {
    const int32_t id = word_id(peek(words + i));
    put(words + i, 0);
    return id;
  }
};

// 0 = the first held; -1: none of ours.
__device__ __forceinline__ int32_t held_expert(const ExpertPlanParams& p, int32_t id) {
  const int32_t expert = id - p.first_expert;
  return expert >= 0 && expert < p.num_experts ? expert : -1;
}

__device__ __forceinline__ uint32_t lower_bits(int32_t bit) {
  return (1u << static_cast<uint32_t>(bit)) - 1;
}

// Rows in the upper half of the word, tiles in the lower.
__device__ __forceinline__ uint32_t sums_before(uint32_t own, PlanShared& shared) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t warp = threadIdx.x / 32;
  uint32_t sum = own;
#pragma unroll
  for (uint32_t offset = 1; offset < 32; offset *= 2) {
    const uint32_t below = __shfl_up_sync(~0u, sum, offset);
    if (lane >= offset) sum += below;
  }
  if (lane == 31) shared.warp_sums[warp] = sum;
  __syncthreads();
  for (uint32_t w = 0; w < warp; ++w) sum += shared.warp_sums[w];
  return sum - own;
}

// Thread e: expert e's first row and tiles.
__device__ __forceinline__ void place_expert(const ExpertPlanParams& p, int32_t words,
                                             PlanShared& shared) {
  const auto expert = static_cast<int32_t>(threadIdx.x);
  const bool held = expert < p.num_experts;
  int32_t rows = 0;
  for (int32_t w = 0; held && w < words; ++w) rows += __popc(shared.items[w][expert]);
  const int32_t tiles = (rows + p.tile_rows - 1) / p.tile_rows;
  const uint32_t own = static_cast<uint32_t>(rows) << 16 | static_cast<uint32_t>(tiles);
  const uint32_t before = sums_before(own, shared);
  if (!held) return;
  const auto first_row = static_cast<int32_t>(before >> 16);
  const auto first_tile = static_cast<int32_t>(before & 0xffffu);
  shared.first_row[expert] = first_row;
  p.plan.offsets[expert] = first_row;
  for (int32_t i = 0; i < tiles; ++i) {
    const int32_t done = i * p.tile_rows;
    p.plan.tiles[first_tile + i] = {expert, first_row + done, min(p.tile_rows, rows - done), 0};
  }
  if (expert < p.num_experts - 1) return;
  p.plan.offsets[p.num_experts] = first_row + rows;
  *p.plan.num_tiles = first_tile + tiles;
}

// A block of kPlanThreads threads or more. Pair i is item i / pairs_an_item; no expert has an item
// twice. fits_plan_block(). Barriers before and after are the caller's.
template <typename Ids>
__device__ __forceinline__ void plan_block(const ExpertPlanParams& p, const Ids& ids,
                                           int32_t pairs_an_item, PlanShared& shared) {
  const auto tid = static_cast<int32_t>(threadIdx.x);
  const int32_t num_pairs = p.num_tokens * p.experts_per_token;
  const int32_t words = (num_pairs / pairs_an_item + 31) / 32;
  const auto step = static_cast<int32_t>(blockDim.x);
  for (int32_t w = 0; w < words && tid < kPlanExpertsMax; ++w) shared.items[w][tid] = 0;
  __syncthreads();
  for (int32_t i = tid; i < num_pairs; i += step) {
    const int32_t expert = held_expert(p, ids.first(i));
    const int32_t item = i / pairs_an_item;
    if (expert >= 0) atomicOr(&shared.items[item / 32][expert], 1u << (item % 32));
  }
  __syncthreads();
  place_expert(p, words, shared);
  __syncthreads();
  for (int32_t i = tid; i < num_pairs; i += step) {
    const int32_t expert = held_expert(p, ids.last(i));
    int32_t row = -1;
    if (expert >= 0) {
      const int32_t item = i / pairs_an_item;
      row = shared.first_row[expert];
      for (int32_t w = 0; w < item / 32; ++w) row += __popc(shared.items[w][expert]);
      row += __popc(shared.items[item / 32][expert] & lower_bits(item % 32));
      p.plan.pairs[row] = i;
    }
    p.plan.row_of[i] = row;
  }
}

}  // namespace mimo::kernels::cuda::router
