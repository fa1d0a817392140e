#include "kernels/cuda/route/route_plan.h"

#include <algorithm>
#include <iterator>

namespace mimo::kernels::cuda::router {
namespace {

constexpr int32_t kTilesSplitsMax = 32;

int32_t ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

// Four scores are put at a time.
int32_t score_pitch(int32_t num_experts) { return ceil_div(num_experts, 4) * 4; }

// Blocks of kSplit: with 256 experts, 128 of them; each has no more than 64 KB of weights.
struct SplitTile {
  int32_t tokens_max = 0;  // of a step that takes it
  int32_t tokens = 0;
  int32_t experts = 0;
  int32_t splits = 0;
};
constexpr SplitTile kSplitTiles[] = {
    {.tokens_max = 8, .tokens = 8, .experts = 16, .splits = 8},
    {.tokens_max = 16, .tokens = 16, .experts = 16, .splits = 8},
    {.tokens_max = 32, .tokens = 32, .experts = 16, .splits = 8},
    {.tokens_max = 128, .tokens = 64, .experts = 32, .splits = 8},
    {.tokens_max = 192, .tokens = 96, .experts = 64, .splits = kSplitsMax},
    {.tokens_max = kSplitTokensMax, .tokens = 128, .experts = 64, .splits = kSplitsMax},
};

const SplitTile& split_tile(int32_t tokens) {
  return *std::find_if(std::begin(kSplitTiles), std::end(kSplitTiles),
                       [tokens](const SplitTile& tile) { return tokens <= tile.tokens_max; });
}

// The last blocks select (box.cuh says why). Where blocks are left, the one that plans does not.
void choose_finishers(int32_t tokens, int32_t num_sms, RoutePlan& out) {
  const int32_t most = std::min(out.num_blocks, num_sms);
  out.num_finishers = std::min(tokens, most);
  const bool plans_apart = tokens > 1 && out.num_finishers < most;
  out.first_finisher = out.num_blocks - out.num_finishers - (plans_apart ? 1 : 0);
}

}  // namespace

RoutePlan plan_route(const RouteShape& shape, int32_t num_sms) {
  RoutePlan out;
  const int32_t tokens = shape.num_tokens;
  const int32_t chunks = ceil_div(shape.hidden, kChunkCols);
  out.score_pitch = score_pitch(shape.num_experts);
  if (tokens <= kFewTokensMax) {
    out.tokens_a_block = tokens;
    out.experts_a_block = kFewExperts;
    out.split_cols = ceil_div(chunks, kFewSplits) * kChunkCols;
    out.splits = ceil_div(shape.hidden, out.split_cols);
    out.num_blocks = out.splits * ceil_div(shape.num_experts, kFewExperts);
    choose_finishers(tokens, num_sms, out);
    return out;
  }
  if (tokens <= kSplitTokensMax) {
    const SplitTile& tile = split_tile(tokens);
    out.kernel = RouteKernel::kSplit;
    out.tokens_a_block = tile.tokens;
    out.experts_a_block = tile.experts;
    out.split_cols = ceil_div(chunks, tile.splits) * kChunkCols;
    out.splits = ceil_div(shape.hidden, out.split_cols);
    out.num_blocks =
        out.splits * ceil_div(shape.num_experts, tile.experts) * ceil_div(tokens, tile.tokens);
    choose_finishers(tokens, num_sms, out);
    return out;
  }
  // Columns are cut until every multiprocessor has a block.
  const int32_t tiles = ceil_div(tokens, kTileSide) * ceil_div(shape.num_experts, kTileSide);
  const int32_t splits = std::clamp(num_sms / tiles, 1, std::min(kTilesSplitsMax, chunks));
  out.kernel = RouteKernel::kTiles;
  out.tokens_a_block = kTileSide;
  out.experts_a_block = kTileSide;
  out.split_cols = ceil_div(chunks, splits) * kChunkCols;
  out.splits = ceil_div(shape.hidden, out.split_cols);
  out.num_blocks = out.splits * tiles;
  return out;
}

int64_t route_scores_max(int32_t tokens_max, int32_t num_experts, int32_t num_sms) {
  // More than one split only while splits * tiles <= num_sms.
  return std::max(int64_t{tokens_max} * num_experts, int64_t{num_sms} * kTileSide * kTileSide);
}

int64_t route_box_words_max(int32_t tokens_max, int32_t num_experts) {
  int64_t scores = 0;
  for (const SplitTile& tile : kSplitTiles) {
    scores = std::max(scores, int64_t{std::min(tokens_max, tile.tokens_max)} * tile.splits);
  }
  return scores * score_pitch(num_experts);
}

}  // namespace mimo::kernels::cuda::router
