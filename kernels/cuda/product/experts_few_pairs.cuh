#pragma once

#include <cstdint>

#include "kernels/cuda/product/experts_few_args.h"
#include "kernels/cuda/product/stream_inputs.cuh"

// Which expert serves which pair of a token and one of its choices, found anew by every block.
namespace mimo::kernels::cuda::product {

// The experts that serve a pair, each once, in the order of their first pairs, are the slots.
struct FewTables {
  int32_t* num_slots;  // [1]
  int32_t* expert;     // [slots] 0 = the first held; of the copying warp
  int32_t* slot;       // [pairs] -1: no expert of ours
  float* weight;       // [pairs]
  int32_t* pair_at;    // [slots][kFewTokensMax] -1: the expert does not serve the token
  float* weight_at;    // [slots][kFewTokensMax]
};

__device__ __forceinline__ FewTables tables_at(const FewArgs& p, uint8_t* shared) {
  auto* const at = shared_part<int32_t>(shared, p.shape.tables_at);
  int32_t* const rows = at + 4;
  const int32_t n = p.num_pairs;
  return {at,           rows,
          rows + n,     reinterpret_cast<float*>(rows + 2 * n),
          rows + 3 * n, reinterpret_cast<float*>(rows + (3 + kFewTokensMax) * n)};
}

// Of pairs lane and lane + 32.
struct Slots {
  int32_t expert[2];  // -1: none of ours
  int32_t slot[2];
  bool leads[2];  // the expert's first pair
  int32_t count;
};

__device__ __forceinline__ int32_t held_expert(const FewArgs& p, int32_t pair) {
  if (pair >= p.num_pairs) return -1;
  const int32_t expert = __ldcg(p.ids + pair) - p.first_expert;
  return expert >= 0 && expert < p.num_experts ? expert : -1;
}

__device__ __forceinline__ Slots find_slots(const FewArgs& p) {
  const int32_t lane = threadIdx.x % 32;
  Slots out;
  out.expert[0] = held_expert(p, lane);
  out.expert[1] = held_expert(p, lane + 32);
  const int32_t first = __ffs(static_cast<int>(__match_any_sync(~0u, out.expert[0]))) - 1;
  out.leads[0] = out.expert[0] >= 0 && first == lane;
  const uint32_t leaders = __ballot_sync(~0u, out.leads[0]);
  out.slot[0] = out.expert[0] < 0 ? -1 : __popc(leaders & ((1u << first) - 1));
  out.count = __popc(leaders);
  out.slot[1] = -1;
  out.leads[1] = false;
  if (p.num_pairs <= 32) return out;
  for (int i = 31; i >= 0; --i) {
    const int32_t expert = __shfl_sync(~0u, out.expert[0], i);
    const int32_t slot = __shfl_sync(~0u, out.slot[0], i);
    if (expert == out.expert[1]) out.slot[1] = slot;
  }
  const int32_t second = __ffs(static_cast<int>(__match_any_sync(~0u, out.expert[1]))) - 1;
  const bool fresh = out.expert[1] >= 0 && out.slot[1] < 0;
  out.leads[1] = fresh && second == lane;
  const uint32_t more = __ballot_sync(~0u, out.leads[1]);
  if (fresh) out.slot[1] = out.count + __popc(more & ((1u << second) - 1));
  out.count += __popc(more);
  return out;
}

// One warp: slot, weight and num_slots.
__device__ __forceinline__ void fill_pairs(const FewArgs& p, const FewTables& tables) {
  const int32_t lane = threadIdx.x % 32;
  float weights[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int32_t pair = half * 32 + lane;
    weights[half] = pair < p.num_pairs ? __ldcg(p.weights + pair) : 0.0f;
  }
  const Slots slots = find_slots(p);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int32_t pair = half * 32 + lane;
    if (pair >= p.num_pairs) continue;
    tables.slot[pair] = slots.slot[half];
    tables.weight[pair] = weights[half];
  }
  if (lane == 0) *tables.num_slots = slots.count;
  for (int32_t i = lane; i < p.num_pairs * kFewTokensMax; i += 32) tables.pair_at[i] = -1;
}

// Lane t of one warp: token t's pairs. An expert that it has twice counts once, by both weights.
__device__ __forceinline__ void fill_places(const FewArgs& p, const FewTables& tables) {
  const auto token = static_cast<int32_t>(threadIdx.x % 32);
  if (token >= p.num_tokens) return;
  for (int32_t k = 0; k < p.experts_per_token; ++k) {
    const int32_t pair = token * p.experts_per_token + k;
    if (tables.slot[pair] < 0) continue;
    const int32_t at = tables.slot[pair] * kFewTokensMax + token;
    const bool again = tables.pair_at[at] >= 0;
    if (!again) tables.pair_at[at] = pair;
    tables.weight_at[at] = (again ? tables.weight_at[at] : 0.0f) + tables.weight[pair];
  }
}

}  // namespace mimo::kernels::cuda::product
