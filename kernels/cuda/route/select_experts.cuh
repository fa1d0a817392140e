#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/route/box.cuh"
#include "kernels/ops.h"

// From the scores of some tokens to their experts: a block of kRouteWarps warps.
namespace mimo::kernels::cuda::router {

constexpr int32_t kRouteWarps = 8;
constexpr int32_t kRouteThreads = kRouteWarps * 32;

// A kernel's scores, summed over the columns of each split.
struct PartialScores {
  const float* sums = nullptr;  // [num_splits, T, E]
  int32_t num_splits = 1;
};

// Floats of shared memory that select_experts() needs: scores, choices and groups a warp.
inline int64_t select_shared_floats(int32_t num_experts, int32_t num_groups) {
  return int64_t{kRouteWarps} * (2 * num_experts + num_groups);
}

// An integer that orders as the float does; the two zeros are one.
__device__ __forceinline__ uint32_t choice_key(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0f);
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
}

// Splits are added in their order.
__device__ __forceinline__ float take_score(const PartialScores& partial, const RouteParams& p,
                                            int32_t token, int32_t expert) {
  const int64_t stride = int64_t{p.num_tokens} * p.num_experts;
  const float* const at = partial.sums + int64_t{token} * p.num_experts + expert;
  float sum = __ldcg(at);
#pragma unroll 8
  for (int32_t split = 1; split < partial.num_splits; ++split) sum += __ldcg(at + split * stride);
  return sum;
}

// scores[i]: of expert lane + 32 i; 0 where there is none. One warp.
template <int kCount>
__device__ __forceinline__ void take_scores(const PartialScores& partial, const RouteParams& p,
                                            int32_t token, float (&scores)[kCount]) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
#pragma unroll
  for (int32_t i = 0; i < kCount; ++i) {
    const int32_t expert = lane + 32 * i;
    scores[i] = expert < p.num_experts ? take_score(partial, p, token, expert) : 0.0f;
  }
}

// Of a token's chosen scores, whose sum this is.
__device__ __forceinline__ float weight_factor(const RouteParams& p, float sum) {
  return (p.normalize ? 1.0f / (sum + 1e-20f) : 1.0f) * p.scaling;
}

// What lane k of a token's warp leaves of choice k. `chosen` [T, K]: words for the plan, or null.
__device__ __forceinline__ void leave_choice(const RouteParams& p, int32_t token, int32_t id,
                                             float weight, uint32_t* chosen) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  if (lane >= p.experts_per_token) return;
  const int64_t at = int64_t{token} * p.experts_per_token + lane;
  if (chosen != nullptr) put(chosen + at, id_word(id));
  p.expert_ids[at] = id;
  p.expert_weights[at] = weight;
}

// -inf to the experts outside the best groups. One warp; sums: [num_groups].
__device__ inline void close_groups(const RouteParams& p, float* choice, float* sums) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const float never = __uint_as_float(0xff800000u);
  const int32_t size = p.num_experts / p.num_groups;
  for (int32_t g = lane; g < p.num_groups; g += 32) {
    float best = never;
    float second = never;
    for (int32_t i = g * size; i < (g + 1) * size; ++i) {
      const float x = choice[i];
      second = fmaxf(second, fminf(best, x));
      best = fmaxf(best, x);
    }
    sums[g] = best + second;
  }
  __syncwarp();
  for (int32_t g = lane; g < p.num_groups; g += 32) {
    int32_t better = 0;
    for (int32_t other = 0; other < p.num_groups; ++other) {
      better += sums[other] > sums[g] || (sums[other] == sums[g] && other < g) ? 1 : 0;
    }
    if (better < p.groups_per_token) continue;
    for (int32_t i = g * size; i < (g + 1) * size; ++i) choice[i] = never;
  }
  __syncwarp();
}

// The lane's best choice that is not taken, as key and expert; ties to the lower.
struct LaneBest {
  uint32_t key = 0;
  int32_t expert = 0;
};
__device__ __forceinline__ LaneBest lane_best(const float* choice, const uint32_t taken,
                                              int32_t num_experts) {
  LaneBest best{0, 1 << 30};
  int32_t i = 0;
  for (auto e = static_cast<int32_t>(threadIdx.x % 32); e < num_experts; e += 32, ++i) {
    const uint32_t key = choice_key(choice[e]);
    const bool better = (taken >> i & 1) == 0 && (key > best.key || best.expert == 1 << 30);
    best = better ? LaneBest{key, e} : best;
  }
  return best;
}

// One warp, one token: score and choice are [E].
__device__ inline void select_token(const RouteParams& p, int32_t token, const float* score,
                                    const float* choice, uint32_t* chosen) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  uint32_t taken = 0;  // bit i: the lane's i-th expert
  LaneBest best = lane_best(choice, taken, p.num_experts);
  int32_t mine = 0;  // of lane k: the k-th best
  for (int32_t k = 0; k < p.experts_per_token; ++k) {
    const bool any = best.expert < 1 << 30;
    const uint32_t key = __reduce_max_sync(~0u, any ? best.key : 0);
    const int32_t found = __reduce_min_sync(~0u, any && best.key == key ? best.expert : 1 << 30);
    if (lane == k) mine = found;
    if (found % 32 == lane) {
      taken |= 1u << (found / 32);
      best = lane_best(choice, taken, p.num_experts);
    }
  }
  const bool holds = lane < p.experts_per_token;
  const float weight = holds ? score[mine] : 0.0f;
  float sum = weight;
  for (int32_t offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
  leave_choice(p, token, mine, weight * weight_factor(p, sum), chosen);
}

__device__ inline bool is_padding(const RouteParams& p, int32_t token) {
  return p.runs.context != nullptr && p.runs.context[p.runs.row_run[token]] == 0;
}

// No experts, if this is padding: then true. One warp.
__device__ __forceinline__ bool leave_out_padding(const RouteParams& p, int32_t token,
                                                  uint32_t* chosen) {
  if (!is_padding(p, token)) return false;
  leave_choice(p, token, -1, 0.0f, chosen);
  return true;
}

// The score of a sum, and what chooses: a NaN row gets experts like any other; it still ends as NaN
// weights.
struct Scored {
  float score;
  float choice;
};
__device__ __forceinline__ Scored scored(float sum, float bias) {
  const float score = __frcp_rn(1.0f + expf(-sum));
  return {score, isnan(score) ? 0.0f : score + bias};
}

// A lane's experts of few: lane, lane + 32, ..
constexpr int32_t kLaneExperts = 8;

struct LaneScores {
  uint32_t keys[kLaneExperts];  // of the choice; 0: none, or taken
  float scores[kLaneExperts];
};

__device__ __forceinline__ LaneScores lane_scores(const RouteParams& p,
                                                  const PartialScores& partial, int32_t token) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  float biases[kLaneExperts];
#pragma unroll
  for (int32_t i = 0; i < kLaneExperts; ++i) {
    biases[i] = lane + 32 * i < p.num_experts ? __ldg(p.bias + lane + 32 * i) : 0.0f;
  }
  float sums[kLaneExperts];
  take_scores(partial, p, token, sums);
  LaneScores out;
#pragma unroll
  for (int32_t i = 0; i < kLaneExperts; ++i) {
    const bool inside = lane + 32 * i < p.num_experts;
    const Scored one = scored(sums[i], biases[i]);
    out.scores[i] = one.score;
    out.keys[i] = inside ? choice_key(one.choice) : 0;
  }
  return out;
}

// The best of a lane's experts [kBegin, kBegin + kCount), ties to the lower.
struct Candidate {
  uint32_t key;
  int32_t index;
  float score;
};
template <int kBegin, int kCount>
__device__ __forceinline__ Candidate best_of(const LaneScores& mine) {
  if constexpr (kCount == 1) {
    return {mine.keys[kBegin], kBegin, mine.scores[kBegin]};
  } else {
    const Candidate low = best_of<kBegin, kCount / 2>(mine);
    const Candidate high = best_of<kBegin + kCount / 2, kCount / 2>(mine);
    return high.key > low.key ? high : low;
  }
}

// One warp, one token, all in registers: one group, at most 32 * kLaneExperts experts.
__device__ __forceinline__ void select_token_of_few(const RouteParams& p,
                                                    const PartialScores& partial, int32_t token) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const bool padding = is_padding(p, token);
  LaneScores mine = lane_scores(p, partial, token);
  if (padding) return leave_choice(p, token, -1, 0.0f, nullptr);
  int32_t id = 0;  // of lane k: the k-th best
  float weight = 0;
  for (int32_t k = 0; k < p.experts_per_token; ++k) {
    const Candidate best = best_of<0, kLaneExperts>(mine);
    const uint32_t key = __reduce_max_sync(~0u, best.key);
    const uint32_t expert = best.key == key ? lane + 32 * best.index : ~0u;
    const auto found = static_cast<int32_t>(__reduce_min_sync(~0u, expert));
    const float score = __shfl_sync(~0u, best.score, found % 32);
    if (lane == k) {
      id = found;
      weight = score;
    }
#pragma unroll
    for (int32_t i = 0; i < kLaneExperts; ++i) {
      mine.keys[i] = lane + 32 * i == found ? 0 : mine.keys[i];
    }
  }
  float sum = weight;
#pragma unroll
  for (int32_t offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
  leave_choice(p, token, id, weight * weight_factor(p, sum), nullptr);
}

__host__ __device__ __forceinline__ bool has_few_experts(const RouteParams& p) {
  return p.num_groups == 1 && p.num_experts <= 32 * kLaneExperts;
}

// Tokens [first, first + count), count <= kRouteWarps, a warp each. shared:
// [select_shared_floats()].
__device__ __forceinline__ void select_experts(const RouteParams& p, const PartialScores& partial,
                                               int32_t first, int32_t count, float* shared) {
  const auto warp = static_cast<int32_t>(threadIdx.x / 32);
  if (has_few_experts(p)) {
    if (warp < count) select_token_of_few(p, partial, first + warp);
    return;
  }
  float* const scores = shared;
  float* const choices = scores + kRouteWarps * p.num_experts;
  float* const groups = choices + kRouteWarps * p.num_experts;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < count * p.num_experts;
       i += static_cast<int32_t>(blockDim.x)) {
    const int32_t expert = i % p.num_experts;
    const float sum = take_score(partial, p, first + i / p.num_experts, expert);
    const Scored out = scored(sum, p.bias[expert]);
    scores[i] = out.score;
    choices[i] = out.choice;
  }
  __syncthreads();
  if (warp >= count) return;
  const int32_t token = first + warp;
  if (leave_out_padding(p, token, nullptr)) return;
  float* const choice = choices + warp * p.num_experts;
  if (p.num_groups > 1) close_groups(p, choice, groups + warp * p.num_groups);
  select_token(p, token, scores + warp * p.num_experts, choice, nullptr);
}

}  // namespace mimo::kernels::cuda::router
