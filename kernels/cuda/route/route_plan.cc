#include "kernels/cuda/route/route_plan.h"

#include <algorithm>

namespace mimo::kernels::cuda::router {
namespace {

constexpr int32_t kSplitsMax = 32;

int32_t ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

}  // namespace

RoutePlan plan_route(const RouteShape& shape, int32_t num_sms) {
  RoutePlan out;
  const int32_t tokens = shape.num_tokens;
  if (tokens <= kFewTokensMax) {
    // The last block selects them all at once, a warp a token.
    return {.kernel = RouteKernel::kFew, .tokens_a_block = tokens, .split_cols = shape.hidden};
  }
  const int32_t chunks = ceil_div(shape.hidden, kChunkCols);
  if (tokens <= kTileClusterTokensMax) {
    out.kernel = tokens <= kClusterTokensMax ? RouteKernel::kCluster : RouteKernel::kTileCluster;
    out.tokens_a_block = tokens <= 8 ? 8 : tokens <= 16 ? 16 : 64;
    out.splits = kClusterBlocks;
    out.split_cols = ceil_div(chunks, kClusterBlocks) * kChunkCols;
    return out;
  }
  // Columns are cut until every multiprocessor has a block.
  const int32_t tiles = ceil_div(tokens, kTileSide) * ceil_div(shape.num_experts, kTileSide);
  const int32_t splits = std::clamp(num_sms / tiles, 1, std::min(kSplitsMax, chunks));
  out.kernel = RouteKernel::kTiles;
  out.tokens_a_block = kTileSide;
  out.split_cols = ceil_div(chunks, splits) * kChunkCols;
  out.splits = ceil_div(shape.hidden, out.split_cols);
  return out;
}

int64_t route_scores_max(int32_t tokens_max, int32_t num_experts, int32_t num_sms) {
  // More than one split only while splits * tiles <= num_sms.
  return std::max(int64_t{tokens_max} * num_experts, int64_t{num_sms} * kTileSide * kTileSide);
}

}  // namespace mimo::kernels::cuda::router
