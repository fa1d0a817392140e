#include "kernels/cuda/route/route_plan.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace mimo::kernels::cuda::router {
namespace {

constexpr int32_t kTilesSplitsMax = 32;

int32_t ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

// Four scores are put at a time.
int32_t score_pitch(int32_t num_experts) { return ceil_div(num_experts, 4) * 4; }

// Blocks of kSplit: with 256 experts, 128 of them where there is a tile for as few tokens; each has
// 64 KB of weights or less.
struct SplitTile {
  int32_t tokens_max = 0;  // of a step that takes it
  int32_t tokens = 0;
  int32_t experts = 0;
};
constexpr SplitTile kSplitTiles[] = {
    {.tokens_max = 8, .tokens = 8, .experts = 16},
    {.tokens_max = 16, .tokens = 16, .experts = 16},
    {.tokens_max = 32, .tokens = 32, .experts = 16},
    {.tokens_max = kSplitTokensMax, .tokens = 64, .experts = 32},
};

// The tiles for so many tokens and more add a row's products in one order: a warp the three parts
// of its 64 columns one after the other, then eight warps, then eight splits. H200, 1 token 4.5 us
// (kFew 3.6), 256 tokens 17.6.
constexpr int32_t kInvariantTokens = 32;
constexpr int32_t kInvariantTilesSplits = 4;

// And of kCluster: 128 of them with 256 experts; each has 128 KB of weights at most.
struct ClusterTile {
  int32_t tokens_max = 0;
  int32_t tokens = 0;
};
constexpr ClusterTile kClusterTiles[] = {
    {.tokens_max = 128, .tokens = 32},
    {.tokens_max = kSplitTokensMax, .tokens = 64},
};
constexpr int32_t kClusterTokensMin = 33;
constexpr int32_t kClusterPlacesMin = 128;

template <typename Tile, size_t kCount>
const Tile& tile_for(int32_t tokens, const Tile (&tiles)[kCount]) {
  return *std::find_if(std::begin(tiles), std::end(tiles),
                       [tokens](const Tile& tile) { return tokens <= tile.tokens_max; });
}

void cut_columns(const RouteShape& shape, int32_t splits, RoutePlan& out) {
  out.split_cols = ceil_div(ceil_div(shape.hidden, kChunkCols), splits) * kChunkCols;
  out.splits = ceil_div(shape.hidden, out.split_cols);
}

// The last blocks select (box.cuh says why). Where blocks are left, the one that plans does not.
void choose_finishers(int32_t tokens, int32_t num_places, RoutePlan& out) {
  const int32_t most = std::min(out.num_blocks, num_places);
  out.num_finishers = std::min(tokens, most);
  const bool plans_apart = tokens > 1 && out.num_finishers < most;
  out.first_finisher = out.num_blocks - out.num_finishers - (plans_apart ? 1 : 0);
}

bool fits_clusters(const RouteShape& shape, int32_t num_places) {
  return !shape.batch_invariant && shape.num_tokens >= kClusterTokensMin &&
         shape.num_tokens <= kSplitTokensMax && num_places >= kClusterPlacesMin &&
         shape.num_experts <= kClusterExpertsMax && shape.num_groups == 1 &&
         shape.hidden <= kClusterCols * kClusterBlocks * kClusterBoxesMax;
}

RoutePlan plan_clusters(const RouteShape& shape, int32_t num_places, RoutePlan out) {
  const ClusterTile& tile = tile_for(shape.num_tokens, kClusterTiles);
  out.kernel = RouteKernel::kCluster;
  out.tokens_a_block = tile.tokens;
  out.experts_a_block = kClusterExperts;
  cut_columns(shape, kClusterBlocks * kClusterBoxesMax, out);
  out.boxes = ceil_div(out.splits, kClusterBlocks);
  out.num_blocks = out.boxes * kClusterBlocks * ceil_div(shape.num_experts, kClusterExperts) *
                   ceil_div(shape.num_tokens, tile.tokens);
  choose_finishers(shape.num_tokens, num_places, out);
  return out;
}

}  // namespace

RoutePlan plan_route(const RouteShape& shape, int32_t num_sms, int32_t num_places) {
  RoutePlan out;
  const int32_t tokens = shape.num_tokens;
  out.score_pitch = score_pitch(shape.num_experts);
  if (tokens <= kFewTokensMax && !shape.batch_invariant) {
    out.tokens_a_block = tokens;
    out.experts_a_block = kFewExperts;
    cut_columns(shape, kFewSplits, out);
    out.boxes = out.splits;
    out.num_blocks = out.splits * ceil_div(shape.num_experts, kFewExperts);
    choose_finishers(tokens, num_sms, out);
    return out;
  }
  if (fits_clusters(shape, num_places)) {
    return plan_clusters(shape, std::min(num_places, num_sms), out);
  }
  if (tokens <= kSplitTokensMax) {
    const int32_t least = shape.batch_invariant ? kInvariantTokens : 1;
    const SplitTile& tile = tile_for(std::max(tokens, least), kSplitTiles);
    out.kernel = RouteKernel::kSplit;
    out.tokens_a_block = tile.tokens;
    out.experts_a_block = tile.experts;
    cut_columns(shape, kSplitsMax, out);
    out.boxes = out.splits;
    out.num_blocks =
        out.splits * ceil_div(shape.num_experts, tile.experts) * ceil_div(tokens, tile.tokens);
    choose_finishers(tokens, num_sms, out);
    return out;
  }
  // Columns are cut until every multiprocessor has a block.
  const int32_t tiles = ceil_div(tokens, kTileSide) * ceil_div(shape.num_experts, kTileSide);
  const int32_t chunks = ceil_div(shape.hidden, kChunkCols);
  const int32_t wanted = shape.batch_invariant ? kInvariantTilesSplits : num_sms / tiles;
  const int32_t splits = std::clamp(wanted, 1, std::min(kTilesSplitsMax, chunks));
  out.kernel = RouteKernel::kTiles;
  out.tokens_a_block = kTileSide;
  out.experts_a_block = kTileSide;
  cut_columns(shape, splits, out);
  out.num_blocks = out.splits * tiles;
  return out;
}

uint32_t asked_expert_bytes(const RouteShape& shape, RouteKernel kernel, int32_t experts_per_token,
                            int64_t expert_bytes) {
  // H200, 256 experts of 6 MB, ms of 12 layers with 0, 96, 128, 192 and 256 KB: 64 tokens, which
  // choose 87 % of them, 4.285, 4.234, 4.228, 4.244 and 4.234; 256 tokens 5.788, 5.757, 5.746,
  // 5.745 and 5.752; 48 layers with none and 128 KB 17.61 and 17.37; 23.13 twice, and 23.07 and
  // 23.14. The share is not tuned: nothing between 16 and 64 tokens was measured. With 16, which
  // choose 39 %, 32 KB gain nothing and 64 KB cost 0.5 %; 64 KB of those alone that were chosen
  // gain 0.8 % in one run and nothing in another; the next layer's qkv and o_proj cost 1 to 3 %.
  constexpr int64_t kAskedBytes = 128 << 10;
  constexpr double kBusyShare = 0.8;
  if (kernel != RouteKernel::kSplit && kernel != RouteKernel::kCluster) return 0;
  const double chosen = static_cast<double>(experts_per_token) / shape.num_experts;
  if (1.0 - std::pow(1.0 - chosen, shape.num_tokens) < kBusyShare) return 0;
  return static_cast<uint32_t>(std::min(kAskedBytes, expert_bytes / 16 * 16));
}

bool folds_norm(const RouteShape& shape) {
  constexpr int32_t kWhole = kFewSplits * 128;
  return !shape.batch_invariant && shape.num_tokens == 1 && shape.hidden % kWhole == 0;
}

int64_t route_scores_max(int32_t tokens_max, int32_t num_experts, int32_t num_sms,
                         bool batch_invariant) {
  if (batch_invariant) return int64_t{kInvariantTilesSplits} * tokens_max * num_experts;
  // More than one split only while splits * tiles <= num_sms.
  return std::max(int64_t{tokens_max} * num_experts, int64_t{num_sms} * kTileSide * kTileSide);
}

int64_t route_box_words_max(int32_t tokens_max, int32_t num_experts) {
  constexpr int32_t kBoxesMax = std::max({kFewSplits, kSplitsMax, kClusterBoxesMax});
  return int64_t{std::min(tokens_max, kSplitTokensMax)} * kBoxesMax * score_pitch(num_experts);
}

}  // namespace mimo::kernels::cuda::router
