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

static_assert(kRouteThreads == kPlanThreads, "one block does both");

// True in every thread of the last of `num_blocks` blocks to come here; what the others wrote
// before is then seen.
__device__ __forceinline__ bool is_last_block(uint32_t* arrived, uint32_t num_blocks) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(arrived, 1u) == num_blocks - 1;
    if (last) *arrived = 0;
  }
  __syncthreads();
  __threadfence();
  return last;
}

// Bytes of shared memory that finish_group() needs: it does one thing after the other.
inline int64_t finish_shared_bytes(int32_t num_experts, int32_t num_groups) {
  const bool few = num_groups == 1 && num_experts <= 32 * kLaneExperts;
  const int64_t select = few ? 0 : select_shared_floats(num_experts, num_groups) * 4;
  return select > int64_t{sizeof(PlanShared)} ? select : int64_t{sizeof(PlanShared)};
}

// What finish_shared_bytes() is at most: groups have two experts or more.
constexpr int64_t kFinishSharedMax =
    int64_t{kRouteWarps} * (2 * kRouteExpertsMax + kRouteExpertsMax / 2) * 4;

// Each block that has left its sums of the tokens [first, first + count), count <= kRouteWarps; the
// last of `num_blocks` selects their experts, and the last of `num_groups` such groups makes the
// plan.
__device__ __forceinline__ void finish_group(const RouteWork& work, int32_t first, int32_t count,
                                             uint32_t* arrived, uint32_t num_blocks,
                                             uint32_t num_groups, void* shared) {
  if (!is_last_block(arrived, num_blocks)) return;
  select_experts(work.route, PartialScores{work.scores, 1}, first, count,
                 static_cast<float*>(shared));
  if (work.plan.num_tokens == 0) return;
  if (num_groups == 1) {
    __syncthreads();
  } else if (!is_last_block(work.arrivals.groups, num_groups)) {
    return;
  }
  plan_block(work.plan, work.route.experts_per_token, *static_cast<PlanShared*>(shared));
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
  for (auto i = static_cast<int32_t>(threadIdx.x); i < kTokens * kExperts; i += kRouteThreads) {
    total[i] = sums(i / kExperts, i % kExperts);
  }
  cluster.sync();
  const auto rank = static_cast<int32_t>(blockIdx.x);
  const int32_t first = static_cast<int32_t>(blockIdx.z) * kTokens + rank * kGroup;
  const int32_t count = min(kGroup, p.num_tokens - first);
  for (auto i = static_cast<int32_t>(threadIdx.x); i < kPart; i += kRouteThreads) {
    float sum = 0;
#pragma unroll
    for (int32_t block = 0; block < kClusterBlocks; ++block) {
      sum += cluster.map_shared_rank(total, block)[rank * kPart + i];
    }
    const int32_t expert = static_cast<int32_t>(blockIdx.y) * kExperts + i % kExperts;
    if (i / kExperts >= count || expert >= p.num_experts) continue;
    work.scores[int64_t{first + i / kExperts} * p.num_experts + expert] = sum;
  }
  cg::cluster_group::arrival_token token = cluster.barrier_arrive();
  if (count > 0) {
    const auto group = static_cast<uint32_t>(first) / kGroup;
    const auto num_groups = static_cast<uint32_t>((p.num_tokens + kGroup - 1) / kGroup);
    finish_group(work, first, count, work.arrivals.blocks + group, gridDim.y, num_groups, shared);
  }
  cluster.barrier_wait(std::move(token));  // no block leaves while another may read its total
}

}  // namespace mimo::kernels::cuda::router
