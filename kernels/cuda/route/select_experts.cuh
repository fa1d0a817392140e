#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/ops.h"

// From the scores of some tokens to their experts: a block of kRouteWarps warps.
namespace mimo::kernels::cuda::router {

constexpr int32_t kRouteWarps = 8;
constexpr int32_t kRouteThreads = kRouteWarps * 32;

// Sums of x w^T over the columns of each split.
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

// Splits are added in their order. The sums may be another block's: never from L1.
__device__ __forceinline__ float full_score(const PartialScores& partial, const RouteParams& p,
                                            int32_t token, int32_t expert) {
  const int64_t stride = int64_t{p.num_tokens} * p.num_experts;
  const float* const at = partial.sums + int64_t{token} * p.num_experts + expert;
  float sum = __ldcg(at);
#pragma unroll 8
  for (int32_t split = 1; split < partial.num_splits; ++split) sum += __ldcg(at + split * stride);
  return sum;
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
                                    const float* choice) {
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
  const float factor = (p.normalize ? 1.0f / (sum + 1e-20f) : 1.0f) * p.scaling;
  if (!holds) return;
  const int64_t at = int64_t{token} * p.experts_per_token + lane;
  p.expert_ids[at] = mine;
  p.expert_weights[at] = weight * factor;
}

__device__ inline bool is_padding(const RouteParams& p, int32_t token) {
  return p.runs.context != nullptr && p.runs.context[p.runs.row_run[token]] == 0;
}

// Tokens [first, first + count), count <= kRouteWarps, a warp each. shared:
// [select_shared_floats()].
__device__ inline void select_experts(const RouteParams& p, const PartialScores& partial,
                                      int32_t first, int32_t count, float* shared) {
  float* const scores = shared;
  float* const choices = scores + kRouteWarps * p.num_experts;
  float* const groups = choices + kRouteWarps * p.num_experts;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < count * p.num_experts; i += kRouteThreads) {
    const int32_t expert = i % p.num_experts;
    const float sum = full_score(partial, p, first + i / p.num_experts, expert);
    const float score = 1.0f / (1.0f + expf(-sum));
    scores[i] = score;
    // A NaN row gets experts like any other; it still ends as NaN weights.
    choices[i] = isnan(score) ? 0.0f : score + p.bias[expert];
  }
  __syncthreads();
  const auto warp = static_cast<int32_t>(threadIdx.x / 32);
  if (warp >= count) return;
  const int32_t token = first + warp;
  if (is_padding(p, token)) {
    const auto lane = static_cast<int32_t>(threadIdx.x % 32);
    if (lane < p.experts_per_token) {
      p.expert_ids[int64_t{token} * p.experts_per_token + lane] = -1;
      p.expert_weights[int64_t{token} * p.experts_per_token + lane] = 0.0f;
    }
    return;
  }
  float* const choice = choices + warp * p.num_experts;
  if (p.num_groups > 1) close_groups(p, choice, groups + warp * p.num_groups);
  select_token(p, token, scores + warp * p.num_experts, choice);
}

}  // namespace mimo::kernels::cuda::router
