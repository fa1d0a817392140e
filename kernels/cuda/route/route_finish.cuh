#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/route/plan_block.cuh"
#include "kernels/cuda/route/route_kernels.h"
#include "kernels/cuda/route/select_experts.cuh"
#include "kernels/device/tma.cuh"

// From blocks' sums to experts and their plan, within the launch that made the sums.
namespace mimo::kernels::cuda::router {

static_assert(kRouteThreads == kPlanThreads, "one block does both");

__device__ __forceinline__ int32_t linear_block() {
  return static_cast<int32_t>(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
}
__device__ __forceinline__ bool is_last_block(const RouteWork& work) {
  return linear_block() == work.cut.num_blocks - 1;
}

// The first token that this block selects for; -1: none.
__device__ __forceinline__ int32_t first_to_finish(const RouteWork& work) {
  const int32_t rank = linear_block() - work.cut.first_finisher;
  return rank >= 0 && rank < work.cut.num_finishers ? rank : -1;
}

// Whether the tokens that this block selects for first, kTokens of them, are padding, asked for
// before it must be known: one load needs the other. Not plain loads, which may be moved to where
// others wait for them.
template <int kTokens = 1>
struct FirstRuns {
  int32_t run[kTokens] = {};
  bool is_padding[kTokens] = {};
};
using FirstRun = FirstRuns<1>;
__device__ __forceinline__ int32_t peek(const int32_t* at) {
  return static_cast<int32_t>(peek(reinterpret_cast<const uint32_t*>(at)));
}
__device__ __forceinline__ bool has_run(const RouteWork& work, int32_t token) {
  return token >= 0 && token < work.route.num_tokens && work.route.runs.context != nullptr;
}
template <int kTokens = 1>
__device__ __forceinline__ FirstRuns<kTokens> find_run(const RouteWork& work) {
  FirstRuns<kTokens> out;
  int32_t token = first_to_finish(work);
#pragma unroll
  for (int32_t t = 0; t < kTokens; ++t) {
    if (has_run(work, token)) out.run[t] = peek(work.route.runs.row_run + token);
    token = token < 0 ? token : token + work.cut.num_finishers;
  }
  return out;
}
// After the block's scores are put.
template <int kTokens>
__device__ __forceinline__ void find_context(const RouteWork& work, FirstRuns<kTokens>& first) {
  int32_t contexts[kTokens];
  int32_t token = first_to_finish(work);
#pragma unroll
  for (int32_t t = 0; t < kTokens; ++t) {
    contexts[t] = 1;
    if (has_run(work, token)) contexts[t] = peek(work.route.runs.context + first.run[t]);
    token = token < 0 ? token : token + work.cut.num_finishers;
  }
#pragma unroll
  for (int32_t t = 0; t < kTokens; ++t) first.is_padding[t] = contexts[t] == 0;
}

// --- Scores that blocks hand over -------------------------------------------------------------
__device__ __forceinline__ uint32_t* box_scores(const RouteWork& work, int32_t token, int32_t box,
                                                int32_t expert) {
  const int64_t row = int64_t{token} * work.cut.boxes + box;
  return work.score_box + row * work.cut.score_pitch + expert;
}

// What is chosen for, kTokens at once; -1: none.
template <int kTokens>
struct TokensAtOnce {
  int32_t token[kTokens];
  bool is_padding[kTokens];
  float sum[kTokens];  // of the thread's expert
};

// Sums over the boxes, at most kBoxes, in their order, of those tokens that there are. Each word is
// taken once.
template <int kBoxes, int kTokens>
__device__ __forceinline__ void take_sums(const RouteWork& work, TokensAtOnce<kTokens>& tokens,
                                          int32_t expert) {
  const int32_t pitch = work.cut.score_pitch;
  uint32_t words[kTokens][kBoxes];
  bool all = false;
  while (!all) {
    all = true;
#pragma unroll
    for (int32_t t = 0; t < kTokens; ++t) {
      const uint32_t* const at = box_scores(work, tokens.token[t], 0, expert);
#pragma unroll
      for (int32_t b = 0; b < kBoxes; ++b) {
        const bool there = b < work.cut.boxes && tokens.token[t] >= 0;
        words[t][b] = there ? peek(at + b * pitch) : score_word(0);
      }
    }
#pragma unroll
    for (int32_t t = 0; t < kTokens; ++t) {
#pragma unroll
      for (int32_t b = 0; b < kBoxes; ++b) all = all && words[t][b] != 0;
    }
  }
#pragma unroll
  for (int32_t t = 0; t < kTokens; ++t) {
    if (tokens.token[t] < 0) continue;
    tokens.sum[t] = 0;
    uint32_t* const at = box_scores(work, tokens.token[t], 0, expert);
#pragma unroll
    for (int32_t b = 0; b < kBoxes; ++b) {
      if (b >= work.cut.boxes) break;
      tokens.sum[t] += word_score(words[t][b]);
      put(at + b * pitch, 0);
    }
  }
}

// --- Tokens' experts, by a block of a thread an expert -----------------------------------------
constexpr int32_t kQuickChosen = 8;

__device__ __forceinline__ bool selects_quickly(const RouteParams& p) {
  return p.num_groups == 1 && p.num_experts <= kRouteThreads && p.experts_per_token <= kQuickChosen;
}

// A token's keys, which order as its choices do (0: none), and its scores, by expert.
struct QuickShared {
  uint32_t keys[kRouteThreads];
  float scores[kRouteThreads];
  int32_t ids[kQuickChosen];  // of the chosen; -1 past them
};
// A lane has the experts 4 lane .. 4 lane + 3 of each half.
constexpr int32_t kHalfExperts = kRouteThreads / 2;
static_assert(kHalfExperts == 32 * 4 && kLaneExperts == 8);
__device__ __forceinline__ int32_t lane_expert(int32_t i) {
  return i / 4 * kHalfExperts + static_cast<int32_t>(threadIdx.x % 32) * 4 + i % 4;
}

__device__ __forceinline__ void put_in_order(uint32_t& high, uint32_t& low) {
  const uint32_t greater = max(high, low);
  low = min(high, low);
  high = greater;
}
// The greatest first.
__device__ __forceinline__ void sort_keys(uint32_t (&k)[kLaneExperts]) {
#pragma unroll
  for (int32_t i = 0; i < kLaneExperts; i += 2) put_in_order(k[i], k[i + 1]);
#pragma unroll
  for (int32_t i = 0; i < kLaneExperts; i += 4) {
    put_in_order(k[i], k[i + 2]);
    put_in_order(k[i + 1], k[i + 3]);
    put_in_order(k[i + 1], k[i + 2]);
  }
#pragma unroll
  for (int32_t i = 0; i < 4; ++i) put_in_order(k[i], k[i + 4]);
  put_in_order(k[2], k[4]);
  put_in_order(k[3], k[5]);
#pragma unroll
  for (int32_t i = 1; i < kLaneExperts - 1; i += 2) put_in_order(k[i], k[i + 1]);
}

// The expert of choice k, in lane k; ties to the lower. For keys that need not differ.
__device__ __forceinline__ int32_t choose_among_ties(uint32_t (&keys)[kLaneExperts],
                                                     int32_t num_chosen) {
  int32_t out = -1;
#pragma unroll 1
  for (int32_t k = 0; k < num_chosen; ++k) {
    uint32_t best = 0;
#pragma unroll
    for (int32_t i = 0; i < kLaneExperts; ++i) best = max(best, keys[i]);
    best = __reduce_max_sync(~0u, best);
    int32_t expert = kRouteThreads;
#pragma unroll
    for (int32_t i = kLaneExperts - 1; i >= 0; --i) {
      expert = keys[i] == best ? lane_expert(i) : expert;
    }
    expert = __reduce_min_sync(~0u, expert);
#pragma unroll
    for (int32_t i = 0; i < kLaneExperts; ++i) keys[i] = lane_expert(i) == expert ? 0 : keys[i];
    if (static_cast<int32_t>(threadIdx.x % 32) == k) out = expert;
  }
  return out;
}

// The same, in fewer steps where all keys down to the last that is chosen differ: then a key tells
// its expert.
__device__ __forceinline__ int32_t choose(const QuickShared& shared, int32_t num_chosen) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const auto* const from = reinterpret_cast<const uint4*>(shared.keys) + lane;
  const uint4 halves[2] = {from[0], from[kHalfExperts / 4]};
  uint32_t keys[kLaneExperts] = {halves[0].x, halves[0].y, halves[0].z, halves[0].w,
                                 halves[1].x, halves[1].y, halves[1].z, halves[1].w};
  uint32_t sorted[kLaneExperts];
#pragma unroll
  for (int32_t i = 0; i < kLaneExperts; ++i) sorted[i] = keys[i];
  sort_keys(sorted);
  uint32_t best = 0;
  bool all_differ = true;
  uint32_t own = 0;    // of lane k: the k-th best key,
  int32_t holder = 0;  // and the lane that has it
#pragma unroll 1
  for (int32_t k = 0; k <= num_chosen; ++k) {
    const uint32_t before = best;
    best = __reduce_max_sync(~0u, sorted[0]);
    const bool is_ours = sorted[0] == best;
    const uint32_t holders = __ballot_sync(~0u, is_ours);
    const bool is_one = (holders & (holders - 1)) == 0 || k == num_chosen;
    all_differ = all_differ && is_one && best != before;
    if (lane == k) {
      own = best;
      holder = __ffs(static_cast<int32_t>(holders)) - 1;
    }
#pragma unroll
    for (int32_t i = 0; i < kLaneExperts; ++i) {
      const uint32_t next = i + 1 < kLaneExperts ? sorted[i + 1] : 0;
      sorted[i] = is_ours ? next : sorted[i];
    }
  }
  if (all_differ) {
    const uint4 low = reinterpret_cast<const uint4*>(shared.keys)[holder];
    const uint4 high = reinterpret_cast<const uint4*>(shared.keys)[holder + kHalfExperts / 4];
    int32_t at = 0;
    at = low.y == own ? 1 : at;
    at = low.z == own ? 2 : at;
    at = low.w == own ? 3 : at;
    at = high.x == own ? kHalfExperts : at;
    at = high.y == own ? kHalfExperts + 1 : at;
    at = high.z == own ? kHalfExperts + 2 : at;
    at = high.w == own ? kHalfExperts + 3 : at;
    return holder * 4 + at;
  }
  return choose_among_ties(keys, num_chosen);
}

// Warp t chooses for token t, and leaves the experts in `shared`, too. `chosen`: [T, K] words, or
// null. shared: [kTokens].
template <int kTokens>
__device__ __forceinline__ void select_quickly(const RouteParams& p, float bias,
                                               const TokensAtOnce<kTokens>& tokens,
                                               uint32_t* chosen, QuickShared* shared) {
  const auto expert = static_cast<int32_t>(threadIdx.x);
#pragma unroll
  for (int32_t t = 0; t < kTokens; ++t) {
    const Scored mine = scored(tokens.sum[t], bias);
    shared[t].scores[expert] = mine.score;
    shared[t].keys[expert] = expert < p.num_experts ? choice_key(mine.choice) : 0;
  }
  __syncthreads();
  const int32_t warp = expert / 32;
  const int32_t lane = expert % 32;
  const bool is_second = kTokens > 1 && warp == 1;
  const int32_t token = is_second ? tokens.token[kTokens - 1] : tokens.token[0];
  const bool is_padding = is_second ? tokens.is_padding[kTokens - 1] : tokens.is_padding[0];
  if (warp >= kTokens || token < 0) return;
  QuickShared& own = shared[is_second ? 1 : 0];
  int32_t id = choose(own, p.experts_per_token);
  const bool holds = lane < p.experts_per_token;
  float weight = holds && !is_padding ? own.scores[id] : 0.0f;
  id = holds && !is_padding ? id : -1;
  if (chosen != nullptr && holds) {
    put(chosen + int64_t{token} * p.experts_per_token + lane, id_word(id));
  }
  if (lane < kQuickChosen) own.ids[lane] = id;
  float sum = weight;
#pragma unroll
  for (int32_t offset = kQuickChosen / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(~0u, sum, offset);
  }
  if (!holds) return;
  const int64_t at = int64_t{token} * p.experts_per_token + lane;
  p.expert_ids[at] = id;
  p.expert_weights[at] = is_padding ? 0.0f : weight * weight_factor(p, sum);
}

// The same for any number of experts, choices and groups.
template <int kBoxes>
__device__ __forceinline__ void select_slowly(const RouteWork& work, int32_t token, bool padding,
                                              uint32_t* chosen, float* shared) {
  const RouteParams& p = work.route;
  float* const scores = shared;
  float* const choices = scores + p.num_experts;
  for (auto expert = static_cast<int32_t>(threadIdx.x); expert < p.num_experts;
       expert += kRouteThreads) {
    TokensAtOnce<1> one_token{{token}, {padding}, {0.0f}};
    take_sums<kBoxes>(work, one_token, expert);
    const Scored one = scored(one_token.sum[0], p.bias[expert]);
    scores[expert] = one.score;
    choices[expert] = one.choice;
  }
  __syncthreads();
  if (threadIdx.x >= 32) return;
  if (padding) return leave_choice(p, token, -1, 0.0f, chosen);
  if (p.num_groups > 1) close_groups(p, choices, choices + p.num_experts);
  select_token(p, token, scores, choices, chosen);
}

// --- The end of a block ------------------------------------------------------------------------
// In shared memory, before what is done one thing after the other: each thread's bias.
constexpr int64_t kBiasBytes = kRouteThreads * 4;

// Bytes of shared memory that finish() needs.
inline int64_t finish_shared_bytes(const RouteWork& work) {
  const RouteParams& p = work.route;
  const int64_t slow = (2 * int64_t{p.num_experts} + p.num_groups) * 4;
  const int64_t select = std::max(slow, int64_t{sizeof(QuickShared)});
  const int64_t pairs = int64_t{work.plan.num_tokens} * work.plan.experts_per_token;
  return kBiasBytes + std::max(select, plan_shared_bytes(work.plan.num_tokens, pairs));
}
constexpr int64_t kFinishSharedMax =
    kBiasBytes +
    std::max((2 * int64_t{kRouteExpertsMax} + kRouteExpertsMax / 2) * 4,
             plan_shared_bytes(kSplitTokensMax, int64_t{kSplitTokensMax} * kChosenMax));

// Before the inputs are there. shared: finish()'s.
__device__ __forceinline__ void start_finish(const RouteWork& work, uint8_t* shared) {
  const RouteParams& p = work.route;
  const auto expert = static_cast<int32_t>(threadIdx.x);
  if (first_to_finish(work) < 0 || !selects_quickly(p) || expert >= p.num_experts) return;
  reinterpret_cast<float*>(shared)[expert] = __ldg(p.bias + expert);
}

// The launch's blocks share the experts; nobody waits for what is asked for.
__device__ __forceinline__ void ask_for_experts(const RouteWork& work) {
  const AskedExperts& asked = work.asked;
  if (threadIdx.x != 0) return;
#pragma unroll 1
  for (int32_t expert = linear_block(); expert < asked.count; expert += work.cut.num_blocks) {
    device::ask_for_bytes(asked.weights + expert * asked.expert_bytes, asked.bytes);
  }
}

// Every block calls it when all its scores are put, in all threads. At most kBoxes boxes; takes the
// sums of kTokens tokens, one or two, at once. biases: start_finish()'s; memory: what
// finish_shared_bytes() asks for beyond them.
template <int kBoxes, typename Cut, int kTokens>
__device__ __forceinline__ void finish(const RouteWork& work, const FirstRuns<kTokens>& runs,
                                       const float* biases, void* memory) {
  static_assert(kTokens <= 2);
  const RouteParams& p = work.route;
  const bool plans = work.plan.num_tokens > 0;
  const bool is_quick = selects_quickly(p);
  // One token's experts need not leave the block that chooses them.
  const bool is_alone = is_quick && p.num_tokens == 1;
  uint32_t* const chosen = plans && !is_alone ? work.id_box : nullptr;
  const auto expert = static_cast<int32_t>(threadIdx.x);
  const int32_t first = first_to_finish(work);
  const int32_t step = work.cut.num_finishers;
#pragma unroll 1
  for (int32_t token = first; token >= 0 && token < p.num_tokens; token += kTokens * step) {
    TokensAtOnce<kTokens> tokens;
#pragma unroll
    for (int32_t t = 0; t < kTokens; ++t) {
      const int32_t one = token + t * step;
      tokens.token[t] = one < p.num_tokens ? one : -1;
      tokens.is_padding[t] = runs.is_padding[t];
      tokens.sum[t] = 0;
      if (token != first) tokens.is_padding[t] = tokens.token[t] >= 0 && is_padding(p, one);
    }
    if (token > first) __syncthreads();
    if (is_quick) {
      if (expert < p.num_experts) take_sums<kBoxes>(work, tokens, expert);
      select_quickly(p, biases[expert], tokens, chosen, static_cast<QuickShared*>(memory));
      continue;
    }
#pragma unroll 1
    for (int32_t t = 0; t < kTokens && token + t * step < p.num_tokens; ++t) {
      if (t > 0) __syncthreads();
      const bool is_padding = t == 0 ? tokens.is_padding[0] : tokens.is_padding[kTokens - 1];
      select_slowly<kBoxes>(work, token + t * step, is_padding, chosen,
                            static_cast<float*>(memory));
    }
  }
  if (!plans || !is_last_block(work)) return;
  __syncthreads();
  if (is_alone) {
    plan_token<kQuickChosen>(work.plan, static_cast<QuickShared*>(memory)->ids);
    return;
  }
  plan_block<Cut>(work.plan, BoxIds{work.id_box}, p.experts_per_token, memory);
}
// shared: [finish_shared_bytes()].
template <int kBoxes, typename Cut>
__device__ __forceinline__ void finish(const RouteWork& work, const FirstRun& runs,
                                       uint8_t* shared) {
  finish<kBoxes, Cut>(work, runs, reinterpret_cast<const float*>(shared), shared + kBiasBytes);
}

}  // namespace mimo::kernels::cuda::router
