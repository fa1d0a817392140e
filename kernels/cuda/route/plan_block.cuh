#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/route/box.cuh"
#include "kernels/cuda/route/expert_plan.h"
#include "kernels/cuda/route/plan_limits.h"

// The experts' plan of few pairs, by one block: which items an expert serves is a row of bits.
namespace mimo::kernels::cuda::router {

// In shared memory, as much as the pairs at hand need.
struct PlanTables {
  uint32_t* items;      // [words, kPlanExpertsMax]
  uint32_t* warp_sums;  // [32]
  int16_t* first_row;   // [words, kPlanExpertsMax] of the word's first item
  int16_t* held;        // [pairs] held_expert()
};
constexpr int64_t plan_shared_bytes(int64_t items, int64_t pairs) {
  return (items + 31) / 32 * kPlanExpertsMax * 6 + 32 * 4 + (pairs + 7) / 8 * 16;
}
__device__ __forceinline__ PlanTables plan_tables(void* memory, int32_t words) {
  auto* const at = static_cast<uint32_t*>(memory);
  uint32_t* const warp_sums = at + words * kPlanExpertsMax;
  auto* const first_row = reinterpret_cast<int16_t*>(warp_sums + 32);
  return {at, warp_sums, first_row, first_row + words * kPlanExpertsMax};
}

// Division of less than 2^16 by a number that is less, too; made where there is time.
class Divider {
 public:
  __device__ __forceinline__ explicit Divider(int32_t by)
      : factor_(by > 1 ? ~0u / static_cast<uint32_t>(by) + 1 : 0) {}
  __device__ __forceinline__ int32_t operator()(int32_t value) const {
    const auto quotient = static_cast<int32_t>(__umulhi(static_cast<uint32_t>(value), factor_));
    return factor_ == 0 ? value : quotient;
  }

 private:
  uint32_t factor_;
};

// Where plan_block() finds pairs' ids, kPlanTake at a time: a kernel's before ..
constexpr int32_t kPlanTake = 8;
struct ReadyIds {
  const int32_t* ids = nullptr;  // [T, K]
  // out[i]: of pair first + i * step; -1 from `end` on.
  __device__ __forceinline__ void take(int32_t first, int32_t step, int32_t end,
                                       int32_t (&out)[kPlanTake]) const {
#pragma unroll
    for (int32_t i = 0; i < kPlanTake; ++i) {
      const int32_t pair = first + i * step;
      out[i] = pair < end ? ids[pair] : -1;
    }
  }
};
// .. or other blocks' of this launch, each taken once.
struct BoxIds {
  uint32_t* words = nullptr;  // [T, K]
  __device__ __forceinline__ void take(int32_t first, int32_t step, int32_t end,
                                       int32_t (&out)[kPlanTake]) const {
    uint32_t got[kPlanTake];
    bool all = false;
    while (!all) {
      all = true;
#pragma unroll
      for (int32_t i = 0; i < kPlanTake; ++i) {
        const int32_t pair = first + i * step;
        got[i] = pair < end ? peek(words + pair) : id_word(-1);
      }
#pragma unroll
      for (int32_t i = 0; i < kPlanTake; ++i) all = all && got[i] != 0;
    }
#pragma unroll
    for (int32_t i = 0; i < kPlanTake; ++i) {
      const int32_t pair = first + i * step;
      if (pair < end) put(words + pair, 0);
      out[i] = word_id(got[i]);
    }
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
__device__ __forceinline__ uint32_t sums_before(uint32_t own, uint32_t* warp_sums) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t warp = threadIdx.x / 32;
  uint32_t sum = own;
#pragma unroll
  for (uint32_t offset = 1; offset < 32; offset *= 2) {
    const uint32_t below = __shfl_up_sync(~0u, sum, offset);
    if (lane >= offset) sum += below;
  }
  if (lane == 31) warp_sums[warp] = sum;
  __syncthreads();
#pragma unroll
  for (uint32_t w = 0; w < kPlanThreads / 32 - 1; ++w) sum += w < warp ? warp_sums[w] : 0;
  return sum - own;
}

// Thread e: expert e's first rows and tiles. `tiles_of` divides by tile_rows.
__device__ __forceinline__ void place_expert(const ExpertPlanParams& p, int32_t words,
                                             const PlanTables& tables, const Divider& tiles_of) {
  const auto expert = static_cast<int32_t>(threadIdx.x);
  int32_t rows = 0;
#pragma unroll 4
  for (int32_t w = 0; w < words; ++w) rows += __popc(tables.items[w * kPlanExpertsMax + expert]);
  const int32_t tiles = tiles_of(rows + p.tile_rows - 1);
  const uint32_t own = static_cast<uint32_t>(rows) << 16 | static_cast<uint32_t>(tiles);
  const uint32_t before = sums_before(own, tables.warp_sums);
  const auto first_row = static_cast<int32_t>(before >> 16);
  const auto first_tile = static_cast<int32_t>(before & 0xffffu);
  int32_t row = first_row;
#pragma unroll 4
  for (int32_t w = 0; w < words; ++w) {
    const int32_t at = w * kPlanExpertsMax + expert;
    tables.first_row[at] = static_cast<int16_t>(row);
    row += __popc(tables.items[at]);
  }
  if (expert >= p.num_experts) return;
  p.plan.offsets[expert] = first_row;
  for (int32_t i = 0; i < tiles; ++i) {
    const int32_t done = i * p.tile_rows;
    p.plan.tiles[first_tile + i] = {expert, first_row + done, min(p.tile_rows, rows - done), 0};
  }
  if (expert < p.num_experts - 1) return;
  p.plan.offsets[p.num_experts] = first_row + rows;
  *p.plan.num_tiles = first_tile + tiles;
}

// Pairs first, first + kPlanThreads, .., kPlanTake of them, to their sorted rows.
__device__ __forceinline__ void place_pairs(const ExpertPlanParams& p, int32_t first,
                                            int32_t num_pairs, const PlanTables& tables,
                                            const Divider& item_of) {
  int32_t rows[kPlanTake];
#pragma unroll
  for (int32_t i = 0; i < kPlanTake; ++i) {
    const int32_t pair = first + i * kPlanThreads;
    rows[i] = -1;
    if (pair >= num_pairs) continue;
    const int32_t expert = tables.held[pair];
    const int32_t item = item_of(pair);
    const int32_t at = item / 32 * kPlanExpertsMax + max(expert, 0);
    const uint32_t ahead = tables.items[at] & lower_bits(item % 32);
    if (expert >= 0) rows[i] = tables.first_row[at] + __popc(ahead);
  }
#pragma unroll
  for (int32_t i = 0; i < kPlanTake; ++i) {
    const int32_t pair = first + i * kPlanThreads;
    if (pair >= num_pairs) continue;
    p.plan.row_of[pair] = rows[i];
    if (rows[i] >= 0) p.plan.pairs[rows[i]] = pair;
  }
}

// A block of kPlanThreads threads. Pair i is item i / pairs_an_item; no expert has an item twice.
// fits_plan_block(). memory: [plan_shared_bytes()]. Barriers before and after are the caller's.
template <typename Ids>
__device__ __forceinline__ void plan_block(const ExpertPlanParams& p, const Ids& ids,
                                           int32_t pairs_an_item, void* memory) {
  const auto tid = static_cast<int32_t>(threadIdx.x);
  const int32_t num_pairs = p.num_tokens * p.experts_per_token;
  const Divider item_of(pairs_an_item);
  const Divider tiles_of(p.tile_rows);
  const int32_t words = (item_of(num_pairs) + 31) / 32;
  const PlanTables tables = plan_tables(memory, words);
  for (int32_t w = 0; w < words; ++w) tables.items[w * kPlanExpertsMax + tid] = 0;
  __syncthreads();
  for (int32_t first = tid; first < num_pairs; first += kPlanTake * kPlanThreads) {
    int32_t taken[kPlanTake];
    ids.take(first, kPlanThreads, num_pairs, taken);
#pragma unroll
    for (int32_t i = 0; i < kPlanTake; ++i) {
      const int32_t pair = first + i * kPlanThreads;
      if (pair >= num_pairs) continue;
      const int32_t expert = held_expert(p, taken[i]);
      const int32_t item = item_of(pair);
      tables.held[pair] = static_cast<int16_t>(expert);
      uint32_t* const word = &tables.items[item / 32 * kPlanExpertsMax + max(expert, 0)];
      if (expert >= 0) atomicOr(word, 1u << (item % 32));
    }
  }
  __syncthreads();
  place_expert(p, words, tables, tiles_of);
  __syncthreads();
  for (int32_t first = tid; first < num_pairs; first += kPlanTake * kPlanThreads) {
    place_pairs(p, first, num_pairs, tables, item_of);
  }
}

// The plan of one token: its experts differ, so no sums are needed. A block of kPlanThreads
// threads; ids [kMost]: the token's experts_per_token, then -1.
template <int kMost>
__device__ __forceinline__ void plan_token(const ExpertPlanParams& p, const int32_t* ids) {
  const auto tid = static_cast<int32_t>(threadIdx.x);
  int32_t before = 0;
  int32_t pair = -1;  // that expert `tid` serves
#pragma unroll
  for (int32_t k = 0; k < kMost; ++k) {
    const int32_t expert = ids[k] - p.first_expert;  // as unsigned, those before it are above all
    before += static_cast<uint32_t>(expert) < static_cast<uint32_t>(tid) ? 1 : 0;
    pair = expert == tid ? k : pair;
  }
  if (tid < p.experts_per_token && held_expert(p, ids[tid]) < 0) p.plan.row_of[tid] = -1;
  if (tid >= p.num_experts) return;
  p.plan.offsets[tid] = before;
  if (pair >= 0) {
    p.plan.tiles[before] = {tid, before, 1, 0};
    p.plan.pairs[before] = pair;
    p.plan.row_of[pair] = before;
  }
  if (tid < p.num_experts - 1) return;
  const int32_t rows = before + (pair >= 0 ? 1 : 0);
  p.plan.offsets[p.num_experts] = rows;
  *p.plan.num_tiles = rows;
}

}  // namespace mimo::kernels::cuda::router
