#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/route/plan_block.cuh"
#include "kernels/cuda/route/route_kernels.h"
#include "kernels/cuda/route/select_experts.cuh"

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

// The sums of some tokens, those that are not -1, over the boxes, at most kBoxes, in their order.
// Each word is taken once.
template <int kBoxes, int kTokens>
__device__ __forceinline__ void take_sums(const RouteWork& work, const int32_t (&tokens)[kTokens],
                                          int32_t expert, float (&sums)[kTokens]) {
  const int32_t pitch = work.cut.score_pitch;
  uint32_t words[kTokens][kBoxes];
  bool all = false;
  while (!all) {
    all = true;
#pragma unroll
    for (int32_t t = 0; t < kTokens; ++t) {
      const uint32_t* const at = box_scores(work, tokens[t], 0, expert);
#pragma unroll
      for (int32_t b = 0; b < kBoxes; ++b) {
        const bool there = b < work.cut.boxes && tokens[t] >= 0;
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
    sums[t] = 0;
    if (tokens[t] < 0) continue;
    uint32_t* const at = box_scores(work, tokens[t], 0, expert);
#pragma unroll
    for (int32_t b = 0; b < kBoxes; ++b) {
      if (b >= work.cut.boxes) break;
      sums[t] += word_score(words[t][b]);
      put(at + b * pitch, 0);
    }
  }
}

// --- Tokens' experts, by a block of a thread an expert -----------------------------------------
constexpr int32_t kQuickChosen = 8;
constexpr int32_t kCandidates = kRouteWarps * kQuickChosen;

__device__ __forceinline__ bool selects_quickly(const RouteParams& p) {
  return p.num_groups == 1 && p.num_experts <= kRouteThreads && p.experts_per_token <= kQuickChosen;
}

struct QuickShared {
  uint32_t keys[kRouteThreads];
  uint32_t best_keys[kCandidates];  // each warp's, best first
  int32_t best_experts[kCandidates];
  float best_scores[kCandidates];
  int32_t ids[kQuickChosen];  // of the chosen; -1 and 0 past them
  float scores[kQuickChosen];
};
static_assert(kQuickChosen == 8, "summed as two fours");

// How many of `keys`, 4 kCount of them, are greater. kCompact: few instructions, which all come
// from memory in a kernel that runs once a layer.
template <int kCount, bool kCompact = false>
__device__ __forceinline__ int32_t num_greater(const uint32_t* keys, uint32_t key) {
  int32_t counts[4] = {};
#pragma unroll(kCompact ? 2 : kCount)
  for (int32_t i = 0; i < kCount; ++i) {
    const uint4 other = reinterpret_cast<const uint4*>(keys)[i];
    counts[0] += other.x > key ? 1 : 0;
    counts[1] += other.y > key ? 1 : 0;
    counts[2] += other.z > key ? 1 : 0;
    counts[3] += other.w > key ? 1 : 0;
  }
  return counts[0] + counts[1] + counts[2] + counts[3];
}

// The lane's place in its warp's order, ties to the lower lane. num: of the warp's keys, how many
// are greater.
__device__ __forceinline__ int32_t rank_in_warp(uint32_t key, int32_t num) {
  constexpr int32_t kAllRanks = 31 * 32 / 2;
  if (__reduce_add_sync(~0u, num) == kAllRanks) return num;
  const uint32_t equal = __match_any_sync(~0u, key);
  return num + __popc(equal & lower_bits(static_cast<int32_t>(threadIdx.x % 32)));
}

// Four threads a candidate: its place among all, in each of them.
__device__ __forceinline__ int32_t rank_of_candidate(const QuickShared& shared, uint32_t key) {
  constexpr int32_t kThreadWarps = kRouteWarps / 4;
  const auto candidate = static_cast<int32_t>(threadIdx.x / 4);
  const int32_t own = candidate / kQuickChosen;
  int32_t rank = 0;
#pragma unroll
  for (int32_t i = 0; i < kThreadWarps; ++i) {
    const int32_t warp = static_cast<int32_t>(threadIdx.x % 4) * kThreadWarps + i;
    // Equal ones of the warps before are ahead.
    const uint32_t bound = key - (warp < own ? 1 : 0);
    const int32_t ahead =
        num_greater<kQuickChosen / 4>(shared.best_keys + warp * kQuickChosen, bound);
    rank += warp == own ? candidate % kQuickChosen : ahead;
  }
  rank += __shfl_xor_sync(~0u, rank, 1);
  return rank + __shfl_xor_sync(~0u, rank, 2);
}

// One warp.
__device__ __forceinline__ void weigh_quickly(const RouteParams& p, int32_t token, bool padding,
                                              const QuickShared& shared) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const float4 low = *reinterpret_cast<const float4*>(shared.scores);
  const float4 high = *reinterpret_cast<const float4*>(shared.scores + 4);
  const float total = ((low.x + high.x) + (low.z + high.z)) + ((low.y + high.y) + (low.w + high.w));
  const float factor = padding ? 0.0f : weight_factor(p, total);
  if (lane >= p.experts_per_token) return;
  p.expert_weights[int64_t{token} * p.experts_per_token + lane] =
      padding ? 0.0f : shared.scores[lane] * factor;
}

// `sum`: of the thread's expert. Leaves the experts in `shared`, too, and behind a barrier.
// `chosen`: [T, K] words, or null.
template <bool kCompact>
__device__ __forceinline__ void select_quickly(const RouteWork& work, int32_t token, float sum,
                                               float bias, bool padding, uint32_t* chosen,
                                               QuickShared& shared) {
  const RouteParams& p = work.route;
  const auto expert = static_cast<int32_t>(threadIdx.x);
  const int32_t warp = expert / 32;
  const bool inside = expert < p.num_experts;
  const Scored mine = scored(sum, bias);
  const uint32_t key = inside ? choice_key(mine.choice) : 0;  // those outside come last
  shared.keys[expert] = key;
  if (expert < kQuickChosen) {
    shared.ids[expert] = -1;
    shared.scores[expert] = 0;
  }
  __syncwarp();
  const int32_t rank = rank_in_warp(key, num_greater<8, kCompact>(shared.keys + warp * 32, key));
  if (rank < kQuickChosen) {
    const int32_t to = warp * kQuickChosen + rank;
    shared.best_keys[to] = key;
    shared.best_experts[to] = expert;
    shared.best_scores[to] = mine.score;
  }
  __syncthreads();
  const int32_t candidate = expert / 4;
  const uint32_t best_key = shared.best_keys[candidate];
  const int32_t place = rank_of_candidate(shared, best_key);
  if (expert % 4 == 0 && place < p.experts_per_token && best_key != 0) {
    const int32_t id = padding ? -1 : shared.best_experts[candidate];
    const int64_t at = int64_t{token} * p.experts_per_token + place;
    if (chosen != nullptr) put(chosen + at, id_word(id));
    p.expert_ids[at] = id;
    shared.ids[place] = id;
    shared.scores[place] = padding ? 0.0f : shared.best_scores[candidate];
  }
  __syncthreads();
  if (warp == 0) weigh_quickly(p, token, padding, shared);
  __syncwarp();
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
    float sum[1];
    take_sums<kBoxes>(work, {token}, expert, sum);
    const Scored one = scored(sum[0], p.bias[expert]);
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

// Every block calls it when all its scores are put, in all threads. At most kBoxes boxes; takes the
// sums of kTokens tokens, one or two, at once. biases: start_finish()'s; memory: what
// finish_shared_bytes() asks for beyond them.
template <int kBoxes, int kTokens>
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
    int32_t tokens[kTokens];
    bool padding[kTokens];
    float sums[kTokens] = {};
#pragma unroll
    for (int32_t t = 0; t < kTokens; ++t) {
      tokens[t] = token + t * step < p.num_tokens ? token + t * step : -1;
      padding[t] = runs.is_padding[t];
      if (token != first) padding[t] = tokens[t] >= 0 && is_padding(p, tokens[t]);
    }
    if (is_quick && expert < p.num_experts) take_sums<kBoxes>(work, tokens, expert, sums);
#pragma unroll 1
    for (int32_t t = 0; t < kTokens && token + t * step < p.num_tokens; ++t) {
      if (token + t * step > first) __syncthreads();
      const bool left_out = t == 0 ? padding[0] : padding[kTokens - 1];
      if (is_quick) {
        select_quickly<(kTokens > 1)>(work, token + t * step, t == 0 ? sums[0] : sums[kTokens - 1],
                                      biases[expert], left_out, chosen,
                                      *static_cast<QuickShared*>(memory));
      } else {
        select_slowly<kBoxes>(work, token + t * step, left_out, chosen,
                              static_cast<float*>(memory));
      }
    }
  }
  if (!plans || !is_last_block(work)) return;
  if (is_alone) {
    plan_token<kQuickChosen>(work.plan, static_cast<QuickShared*>(memory)->ids);
    return;
  }
  __syncthreads();
  plan_block(work.plan, BoxIds{work.id_box}, p.experts_per_token, memory);
}
// shared: [finish_shared_bytes()].
template <int kBoxes>
__device__ __forceinline__ void finish(const RouteWork& work, const FirstRun& runs,
                                       uint8_t* shared) {
  finish<kBoxes>(work, runs, reinterpret_cast<const float*>(shared), shared + kBiasBytes);
}

}  // namespace mimo::kernels::cuda::router
