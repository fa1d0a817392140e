#pragma once

#include <cstdint>

#include "kernels/cuda/product/experts_few_args.h"
#include "kernels/cuda/product/stream_inputs.cuh"

// Which expert serves which pair of a token and one of its choices, found anew by every block. A
// lane has a pair.
namespace mimo::kernels::cuda::product {

// The experts that serve a pair, each once, in the order of their first pairs, are the slots.
struct FewTables {
  int32_t* num_slots;  // [1]
  int32_t* expert;     // [slots] 0 = the first held
  int32_t* asked;      // [slots] the same, of the copying warp
  int32_t* slot;       // [pairs] -1: no expert of ours
  int32_t* like;       // [pairs] the first pair with this token and slot; -1: no expert of ours
  float* weight;       // [pairs]
  int32_t* pair_at;    // [slots][kFewTokensMax] `like` of both; -1: it does not serve the token
};

__device__ __forceinline__ FewTables tables_at(const FewArgs& p, uint8_t* shared) {
  constexpr int32_t n = kFewPairsMax;
  auto* const at = shared_part<int32_t>(shared, p.shape.tables_at);
  return {at + (5 + kFewTokensMax) * n,
          at + kFewTokensMax * n,
          at + (1 + kFewTokensMax) * n,
          at + (2 + kFewTokensMax) * n,
          at + (3 + kFewTokensMax) * n,
          reinterpret_cast<float*>(at + (4 + kFewTokensMax) * n),
          at};
}

// Of the lane's pair.
struct Slots {
  int32_t expert;  // -1: none of ours
  int32_t slot;    // likewise
  bool leads;      // the expert's first pair
  int32_t count;
};

__device__ __forceinline__ Slots find_slots(const FewArgs& p) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  int32_t expert = lane < p.num_pairs ? __ldcg(p.ids + lane) - p.first_expert : -1;
  if (expert < 0 || expert >= p.num_experts) expert = -1;
  const int32_t first = __ffs(static_cast<int>(__match_any_sync(~0u, expert))) - 1;
  const bool leads = expert >= 0 && first == lane;
  const uint32_t leaders = __ballot_sync(~0u, leads);
  const int32_t slot = expert < 0 ? -1 : __popc(leaders & ((1u << first) - 1));
  return {expert, slot, leads, __popc(leaders)};
}

// One warp: everything but `asked`.
__device__ __forceinline__ void fill_tables(const FewArgs& p, const FewTables& tables) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const float weight = lane < p.num_pairs ? __ldcg(p.weights + lane) : 0.0f;
  const Slots slots = find_slots(p);
  const bool serves = slots.slot >= 0;
  const int32_t place = slots.slot * kFewTokensMax + lane / p.experts_per_token;
  const int32_t like = __ffs(static_cast<int>(__match_any_sync(~0u, serves ? place : -1))) - 1;
  reinterpret_cast<int4*>(tables.pair_at)[lane] = make_int4(-1, -1, -1, -1);
  tables.slot[lane] = slots.slot;
  tables.like[lane] = serves ? like : -1;
  tables.weight[lane] = weight;
  if (slots.leads) tables.expert[slots.slot] = slots.expert;
  if (lane == 0) *tables.num_slots = slots.count;
  __syncwarp();
  if (serves && like == lane) tables.pair_at[place] = lane;
}

}  // namespace mimo::kernels::cuda::product
