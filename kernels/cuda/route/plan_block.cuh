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
  int32_t* first_row;   // [kPlanExpertsMax] of an expert
  int16_t* rows_ahead;  // [words, kPlanExpertsMax] of the word's first item, among the expert's
  int16_t* held;        // [pairs] held_expert()
  int16_t* order;       // [pairs] sorted row -> pair
};
constexpr int32_t kPlanWordsStep = 2;              // words are looked at so many at once
constexpr int32_t kNumRowsAt = kPlanThreads / 32;  // in warp_sums: all rows
__host__ __device__ constexpr int64_t plan_words(int64_t items) {
  return (items + 32 * kPlanWordsStep - 1) / (32 * kPlanWordsStep) * kPlanWordsStep;
}
constexpr int64_t plan_shared_bytes(int64_t items, int64_t pairs) {
  return (plan_words(items) * 6 + 4) * kPlanExpertsMax + 32 * 4 + (pairs + 7) / 8 * 16 * 2;
}
__device__ __forceinline__ PlanTables plan_tables(void* memory, int32_t words, int32_t num_pairs) {
  auto* const at = static_cast<uint32_t*>(memory);
  uint32_t* const warp_sums = at + words * kPlanExpertsMax;
  auto* const first_row = reinterpret_cast<int32_t*>(warp_sums + 32);
  auto* const rows_ahead = reinterpret_cast<int16_t*>(first_row + kPlanExpertsMax);
  int16_t* const held = rows_ahead + words * kPlanExpertsMax;
  return {at, warp_sums, first_row, rows_ahead, held, held + (num_pairs + 7) / 8 * 8};
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

// Pairs that a thread of plan_block() looks at together: kInRow, one behind the other, kRows times.
template <int kInRow_, int kRows_>
struct PairCut {
  static constexpr int kInRow = kInRow_;
  static constexpr int kRows = kRows_;
  static constexpr int32_t kRowStep = kPlanThreads * kInRow;  // from a thread's row to its next
  // Many pairs are sorted in shared memory, so that they are written one behind the other.
  static constexpr bool kSortsApart = kInRow * kRows > 1;
  using Ids = int32_t[kRows][kInRow];
};
using FewPairs = PairCut<1, 1>;
using ManyPairs = PairCut<4, 2>;

// Where plan_block() finds pairs' ids: a kernel's before ..
struct ReadyIds {
  const int32_t* ids = nullptr;  // [T, K]
  // -1 from pair `end` on.
  template <typename Cut>
  __device__ __forceinline__ void take(int32_t first, int32_t end, typename Cut::Ids& out) const {
#pragma unroll
    for (int32_t q = 0; q < Cut::kRows; ++q) {
#pragma unroll
      for (int32_t i = 0; i < Cut::kInRow; ++i) {
        const int32_t pair = first + q * Cut::kRowStep + i;
        out[q][i] = pair < end ? ids[pair] : -1;
      }
    }
  }
};
// .. or other blocks' of this launch, each taken once.
struct BoxIds {
  uint32_t* words = nullptr;  // [T, K], and as many more as fill up four

  static __device__ __forceinline__ void peek_row(const uint32_t* at, uint32_t (&out)[1]) {
    out[0] = peek(at);
  }
  static __device__ __forceinline__ void peek_row(const uint32_t* at, uint32_t (&out)[4]) {
    const uint4 four = peek_four(at);
    out[0] = four.x;
    out[1] = four.y;
    out[2] = four.z;
    out[3] = four.w;
  }
  static __device__ __forceinline__ void clear_row(uint32_t* at, const uint32_t (&)[1]) {
    put(at, 0);
  }
  static __device__ __forceinline__ void clear_row(uint32_t* at, const uint32_t (&)[4]) {
    put(at, uint4{0, 0, 0, 0});
  }
  template <typename Cut>
  __device__ __forceinline__ void take(int32_t first, int32_t end, typename Cut::Ids& out) const {
    uint32_t got[Cut::kRows][Cut::kInRow];
    bool all = false;
    while (!all) {
      all = true;
#pragma unroll
      for (int32_t q = 0; q < Cut::kRows; ++q) {
        const int32_t pair = first + q * Cut::kRowStep;
        if (pair >= end) continue;
        peek_row(words + pair, got[q]);
#pragma unroll
        for (int32_t i = 0; i < Cut::kInRow; ++i) all = all && (got[q][i] != 0 || pair + i >= end);
      }
    }
#pragma unroll
    for (int32_t q = 0; q < Cut::kRows; ++q) {
      const int32_t pair = first + q * Cut::kRowStep;
      if (pair < end) clear_row(words + pair, got[q]);
#pragma unroll
      for (int32_t i = 0; i < Cut::kInRow; ++i) {
        out[q][i] = pair + i < end ? word_id(got[q][i]) : -1;
      }
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
  const uint32_t before = lane < warp ? warp_sums[lane] : 0;
  return sum - own + __reduce_add_sync(~0u, before);
}

// Thread e: expert e's first rows and tiles. `tiles_of` divides by tile_rows.
__device__ __forceinline__ void place_expert(const ExpertPlanParams& p, int32_t words,
                                             const PlanTables& tables, const Divider& tiles_of) {
  const auto expert = static_cast<int32_t>(threadIdx.x);
  int32_t rows = 0;
#pragma unroll 1
  for (int32_t w = 0; w < words; w += kPlanWordsStep) {
#pragma unroll
    for (int32_t i = 0; i < kPlanWordsStep; ++i) {
      const int32_t at = (w + i) * kPlanExpertsMax + expert;
      tables.rows_ahead[at] = static_cast<int16_t>(rows);
      rows += __popc(tables.items[at]);
    }
  }
  const int32_t tiles = tiles_of(rows + p.tile_rows - 1);
  const uint32_t own = static_cast<uint32_t>(rows) << 16 | static_cast<uint32_t>(tiles);
  const uint32_t before = sums_before(own, tables.warp_sums);
  const auto first_row = static_cast<int32_t>(before >> 16);
  const auto first_tile = static_cast<int32_t>(before & 0xffffu);
  tables.first_row[expert] = first_row;
  if (expert == kPlanThreads - 1)
    tables.warp_sums[kNumRowsAt] = static_cast<uint32_t>(first_row + rows);
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

// Some pairs' experts into the rows of bits.
template <int kCount>
__device__ __forceinline__ void note_pairs(const ExpertPlanParams& p, int32_t first,
                                           const int32_t (&ids)[kCount], const PlanTables& tables,
                                           const Divider& item_of) {
#pragma unroll
  for (int32_t i = 0; i < kCount; ++i) {
    const int32_t expert = held_expert(p, ids[i]);
    const int32_t item = item_of(first + i);
    tables.held[first + i] = static_cast<int16_t>(expert);
    if (expert < 0) continue;
    atomicOr(&tables.items[item / 32 * kPlanExpertsMax + expert], 1u << (item % 32));
  }
}

// Pairs to their sorted rows.
template <typename Cut>
__device__ __forceinline__ void place_pairs(const ExpertPlanParams& p, int32_t first,
                                            int32_t num_pairs, const PlanTables& tables,
                                            const Divider& item_of) {
#pragma unroll
  for (int32_t i = 0; i < Cut::kInRow; ++i) {
    const int32_t pair = first + i;
    const int32_t expert = tables.held[pair];
    const int32_t held = max(expert, 0);
    const int32_t item = item_of(pair);
    const int32_t at = item / 32 * kPlanExpertsMax + held;
    const int32_t ahead = tables.rows_ahead[at] + __popc(tables.items[at] & lower_bits(item % 32));
    const int32_t row = expert < 0 ? -1 : tables.first_row[held] + ahead;
    if (row >= 0 && Cut::kSortsApart) tables.order[row] = static_cast<int16_t>(pair);
    if (row >= 0 && !Cut::kSortsApart) p.plan.pairs[row] = pair;
    if (pair < num_pairs) p.plan.row_of[pair] = row;
  }
}

// A block of kPlanThreads threads. Pair i is item i / pairs_an_item; no expert has an item twice.
// fits_plan_block(). memory: [plan_shared_bytes()]. Barriers before and after are the caller's.
template <typename Cut, typename Ids>
__device__ __forceinline__ void plan_block(const ExpertPlanParams& p, const Ids& ids,
                                           int32_t pairs_an_item, void* memory) {
  const auto tid = static_cast<int32_t>(threadIdx.x);
  const int32_t num_pairs = p.num_tokens * p.experts_per_token;
  const Divider item_of(pairs_an_item);
  const Divider tiles_of(p.tile_rows);
  const auto words = static_cast<int32_t>(plan_words(item_of(num_pairs)));
  const PlanTables tables = plan_tables(memory, words, num_pairs);
  const int32_t begin = tid * Cut::kInRow;
  for (int32_t w = 0; w < words; ++w) tables.items[w * kPlanExpertsMax + tid] = 0;
  __syncthreads();
#pragma unroll 1
  for (int32_t first = begin; first < num_pairs; first += Cut::kRows * Cut::kRowStep) {
    typename Cut::Ids taken;
    ids.template take<Cut>(first, num_pairs, taken);
#pragma unroll
    for (int32_t q = 0; q < Cut::kRows; ++q) {
      const int32_t next = first + q * Cut::kRowStep;
      if (next < num_pairs) note_pairs(p, next, taken[q], tables, item_of);
    }
  }
  __syncthreads();
  place_expert(p, words, tables, tiles_of);
  __syncthreads();
#pragma unroll 1
  for (int32_t first = begin; first < num_pairs; first += Cut::kRowStep) {
    place_pairs<Cut>(p, first, num_pairs, tables, item_of);
  }
  if constexpr (!Cut::kSortsApart) return;
  __syncthreads();
  const auto num_rows = static_cast<int32_t>(tables.warp_sums[kNumRowsAt]);
#pragma unroll 2
  for (int32_t row = tid; row < num_rows; row += kPlanThreads) {
    p.plan.pairs[row] = tables.order[row];
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
