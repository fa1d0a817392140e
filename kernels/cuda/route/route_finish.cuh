#pragma once

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

#include "kernels/cuda/route/plan_block.cuh"
#include "kernels/cuda/route/route_kernels.h"
#include "kernels/cuda/route/select_experts.cuh"

// From blocks' sums to experts and their plan, within the launch that made the sums.
namespace mimo::kernels::cuda::router {

static_assert(kRouteThreads >= kPlanThreads, "one block does both");

// Bytes of shared memory that finish_group() needs: it does one thing after the other.
inline int64_t finish_shared_bytes(int32_t num_experts, int32_t num_groups) {
  const bool few = num_groups == 1 && num_experts <= 32 * kLaneExperts;
  const int64_t select = few ? 0 : select_shared_floats(num_experts, num_groups) * 4;
  return select > int64_t{sizeof(PlanShared)} ? select : int64_t{sizeof(PlanShared)};
}

// What finish_shared_bytes() is at most: groups have two experts or more.
constexpr int64_t kFinishSharedMax =
    int64_t{kRouteWarps} * (2 * kRouteExpertsMax + kRouteExpertsMax / 2) * 4;

__device__ __forceinline__ void put_score(const RouteWork& work, int32_t token, int32_t expert,
                                          float score) {
  put(work.score_box + int64_t{token} * work.route.num_experts + expert, score_word(score));
}

// One block, which may wait for all that put scores of the tokens [first, first + count), count <=
// kRouteWarps: their experts. The block of the last tokens makes the plan, if one is wanted.
__device__ __forceinline__ void finish_group(const RouteWork& work, int32_t first, int32_t count,
                                             void* shared) {
  const RouteParams& p = work.route;
  const bool plans = work.plan.num_tokens > 0;
  select_experts(p, BoxScores{work.score_box}, first, count, plans ? work.id_box : nullptr,
                 static_cast<float*>(shared));
  if (!plans || first + count < p.num_tokens) return;
  __syncthreads();
  plan_block(work.plan, BoxIds{work.id_box}, p.experts_per_token,
             *static_cast<PlanShared*>(shared));
}

// Grid [kClusterBlocks, experts / kExperts, tokens / kTokens], clusters along x: a block's sums of
// its columns, sums(token, expert), become all columns' and then experts. `total`
// [kTokens * kExperts], `shared` [finish_shared_bytes()]: apart, and free in the whole cluster.
template <int kTokens, int kExperts, typename Sums>
__device__ __forceinline__ void finish_cluster(const RouteWork& work, const Sums& sums,
                                               float* total, void* shared) {
  namespace cg = cooperative_groups;
  constexpr int32_t kGroup = kTokens / kClusterBlocks;  // tokens that this block finishes
  constexpr int32_t kPart = kGroup * kExperts;
  const cg::cluster_group cluster = cg::this_cluster();
  const RouteParams& p = work.route;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < kTokens * kExperts;
       i += static_cast<int32_t>(blockDim.x)) {
    total[i] = sums(i / kExperts, i % kExperts);
  }
  cluster.sync();
  const auto rank = static_cast<int32_t>(blockIdx.x);
  const int32_t first = static_cast<int32_t>(blockIdx.z) * kTokens + rank * kGroup;
  const int32_t count = min(kGroup, p.num_tokens - first);
  for (auto i = static_cast<int32_t>(threadIdx.x); i < kPart;
       i += static_cast<int32_t>(blockDim.x)) {
    float sum = 0;
#pragma unroll
    for (int32_t block = 0; block < kClusterBlocks; ++block) {
      sum += cluster.map_shared_rank(total, block)[rank * kPart + i];
    }
    const int32_t expert = static_cast<int32_t>(blockIdx.y) * kExperts + i % kExperts;
    if (i / kExperts >= count || expert >= p.num_experts) continue;
    put_score(work, first + i / kExperts, expert, sum);
  }
  cg::cluster_group::arrival_token token = cluster.barrier_arrive();
  if (count > 0 && blockIdx.y == gridDim.y - 1) finish_group(work, first, count, shared);
  cluster.barrier_wait(std::move(token));  // no block leaves while another may read its total
}

}  // namespace mimo::kernels::cuda::router
