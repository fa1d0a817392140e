#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/route/route_finish.cuh"
#include "kernels/cuda/route/route_kernels.h"
#include "kernels/cuda/route/score_mma.cuh"
#include "kernels/device/pdl.cuh"

namespace mimo::kernels::cuda::router {
namespace {

// --- Tile: kClusterExperts x 8 kTokenTiles a block; its warps take the chunks of columns in turn
// --
static_assert(kClusterExperts == kMmaExperts, "one tile a warp");

template <int kTokenTiles>
struct ClusterShared {
  static constexpr int kTokens = kTokenTiles * kMmaTokens;
  static constexpr int kPitch = kClusterExperts + 4;  // a warp's stores meet every bank once
  float total[kTokens * kClusterExperts];
  float sums[kRouteWarps][kTokens][kPitch];  // later finish_group()'s
};

__device__ __forceinline__ LaneWeights load_weights(const RouteParams& p, int32_t chunk_col,
                                                    int32_t end) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const int32_t col = chunk_col + lane % 4 * kLaneCols;
  LaneWeights out;
#pragma unroll
  for (int32_t half = 0; half < 2; ++half) {
    const int32_t expert = static_cast<int32_t>(blockIdx.y) * kClusterExperts + half * 8 + lane / 4;
    const bool inside = col < end && expert < p.num_experts;
    const auto* const from =
        reinterpret_cast<const float4*>(p.weight + int64_t{expert} * p.hidden + col);
    out.w[half][0] = inside ? __ldg(from) : float4{0, 0, 0, 0};
    out.w[half][1] = inside ? __ldg(from + 1) : float4{0, 0, 0, 0};
  }
  return out;
}

template <int kTokenTiles>
__device__ __forceinline__ void load_tokens(const RouteParams& p, int32_t chunk_col, int32_t end,
                                            uint4 (&x)[kTokenTiles]) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const int32_t col = chunk_col + lane % 4 * kLaneCols;
  const int32_t first = static_cast<int32_t>(blockIdx.z) * kTokenTiles * kMmaTokens + lane / 4;
#pragma unroll
  for (int32_t t = 0; t < kTokenTiles; ++t) {
    const int32_t token = first + t * kMmaTokens;
    x[t] = {0, 0, 0, 0};
    if (col >= end || token >= p.num_tokens) continue;
    x[t] = *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(p.x) +
                                           int64_t{token} * p.hidden + col);
  }
}

// Grid [kClusterBlocks, ceil(E / kClusterExperts), ceil(T / tokens)], clusters along x. The first
// two chunks of a warp's weights, all of them in most models, come in before the inputs are there.
template <int kTokenTiles>
__global__ void __launch_bounds__(kRouteThreads)
    cluster_kernel(const __grid_constant__ RouteWork work, int32_t split_cols) {
  using Shared = ClusterShared<kTokenTiles>;
  constexpr int32_t kStep = kRouteWarps * kChunkCols;
  extern __shared__ __align__(16) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const RouteParams& p = work.route;
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const auto warp = static_cast<int32_t>(threadIdx.x / 32);
  const int32_t split_begin = static_cast<int32_t>(blockIdx.x) * split_cols;
  const int32_t end = min(split_begin + split_cols, p.hidden);
  const int32_t begin = split_begin + warp * kChunkCols;
  device::let_next_start();
  LaneWeights first = load_weights(p, begin, end);
  LaneWeights second = load_weights(p, begin + kStep, end);
  device::wait_for_inputs();

  float sums[kTokenTiles][4] = {};
  for (int32_t col = begin; col < end; col += 2 * kStep) {
    uint4 x_first[kTokenTiles];
    uint4 x_second[kTokenTiles];
    load_tokens<kTokenTiles>(p, col, end, x_first);
    load_tokens<kTokenTiles>(p, col + kStep, end, x_second);
    multiply_chunk<kTokenTiles>(first, x_first, sums);
    first = load_weights(p, col + 2 * kStep, end);
    multiply_chunk<kTokenTiles>(second, x_second, sums);
    second = load_weights(p, col + 3 * kStep, end);
  }
#pragma unroll
  for (int32_t t = 0; t < kTokenTiles; ++t) {
#pragma unroll
    for (int32_t i = 0; i < 4; ++i) {
      shared.sums[warp][t * kMmaTokens + lane % 4 * 2 + i % 2][lane / 4 + i / 2 * 8] = sums[t][i];
    }
  }
  __syncthreads();
  const auto block_sum = [&shared](int32_t token, int32_t expert) {
    float sum = 0;
#pragma unroll
    for (int32_t w = 0; w < kRouteWarps; ++w) sum += shared.sums[w][token][expert];
    return sum;
  };
  finish_cluster<Shared::kTokens, kClusterExperts>(work, block_sum, shared.total, shared.sums);
}

template <int kTokenTiles>
int64_t shared_bytes(int64_t finish_bytes) {
  using Shared = ClusterShared<kTokenTiles>;
  return int64_t{sizeof(Shared::total)} + std::max(int64_t{sizeof(Shared::sums)}, finish_bytes);
}

template <int kTokenTiles>
void launch_for(const RouteWork& work, const RoutePlan& plan, cudaStream_t stream) {
  const RouteParams& p = work.route;
  constexpr int32_t kTokens = ClusterShared<kTokenTiles>::kTokens;
  CHECK_EQ(plan.tokens_a_block, kTokens);
  const dim3 grid(kClusterBlocks, (p.num_experts + kClusterExperts - 1) / kClusterExperts,
                  (p.num_tokens + kTokens - 1) / kTokens);
  const int64_t bytes = shared_bytes<kTokenTiles>(finish_shared_bytes(p.num_experts, p.num_groups));
  launch(cluster_kernel<kTokenTiles>, {grid, dim3(kRouteThreads), bytes, kClusterBlocks}, stream,
         work, plan.split_cols);
}

}  // namespace

void prepare_cluster() {
  allow_shared(cluster_kernel<1>, shared_bytes<1>(kFinishSharedMax));
  allow_shared(cluster_kernel<2>, shared_bytes<2>(kFinishSharedMax));
  allow_shared(cluster_kernel<8>, shared_bytes<8>(kFinishSharedMax));
}

void launch_cluster(const RouteWork& work, const RoutePlan& plan, cudaStream_t stream) {
  if (plan.tokens_a_block <= 8) return launch_for<1>(work, plan, stream);
  if (plan.tokens_a_block <= 16) return launch_for<2>(work, plan, stream);
  launch_for<8>(work, plan, stream);
}

}  // namespace mimo::kernels::cuda::router
