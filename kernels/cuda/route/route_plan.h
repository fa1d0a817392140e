#pragma once

#include <cstdint>

namespace mimo::kernels::cuda::router {

enum class RouteKernel : uint8_t {
  kFew = 0,          // two experts a block, whole rows, plain multiply-adds
  kCluster = 1,      // 16 experts a block, rows cut over a cluster, weights straight to registers
  kTileCluster = 2,  // 64 experts x 64 tokens a block, rows cut over a cluster
  kTiles = 3,        // 128 experts x 128 tokens a block; a kernel of its own selects
};

constexpr int32_t kClusterBlocks = 8;
constexpr int32_t kClusterExperts = 16;  // of a block of kCluster
constexpr int32_t kTileClusterSide = 64;
constexpr int32_t kTileSide = 128;
constexpr int32_t kChunkCols = 32;  // columns that a warp multiplies at a time
constexpr int32_t kFewTokensMax = 4;
constexpr int32_t kClusterTokensMax = 64;
constexpr int32_t kTileClusterTokensMax = 256;

struct RouteShape {
  int32_t num_tokens = 0;
  int32_t num_experts = 0;
  int32_t hidden = 0;
};

struct RoutePlan {
  RouteKernel kernel = RouteKernel::kFew;
  int32_t tokens_a_block = 0;
  int32_t splits = 1;      // of the columns
  int32_t split_cols = 0;  // a multiple of kChunkCols
};

// splits * T * E <= the floats that route_scores_max() gives for the step's limits.
RoutePlan plan_route(const RouteShape& shape, int32_t num_sms);
int64_t route_scores_max(int32_t tokens_max, int32_t num_experts, int32_t num_sms);

}  // namespace mimo::kernels::cuda::router
