#pragma once

#include <cstdint>

namespace mimo::kernels::cuda::router {

enum class RouteKernel : uint8_t {
  kFew = 0,      // rows cut over blocks, whose sums meet where experts are selected; multiply-adds
  kSplit = 1,    // the same by tensor cores
  kCluster = 2,  // the same, and blocks of a cluster add up theirs before
  kTiles = 3,    // 128 experts x 128 tokens a block; a kernel of its own selects
};

constexpr int32_t kTileSide = 128;
constexpr int32_t kChunkCols = 32;   // columns that a warp multiplies at a time
constexpr int32_t kFewExperts = 16;  // of a block of kFew
constexpr int32_t kFewSplits = 8;    // at most
constexpr int32_t kFewTokensMax = 4;
constexpr int32_t kSplitTokensMax = 256;  // of kCluster, too
constexpr int32_t kSplitsMax = 8;         // of kSplit
constexpr int32_t kClusterExperts = 64;   // of a block of kCluster
constexpr int32_t kClusterCols = 512;     // at most
constexpr int32_t kClusterBlocks = 2;     // of a cluster, along the columns
constexpr int32_t kClusterBoxesMax = 4;   // clusters along the columns
constexpr int32_t kClusterExpertsMax = 256;

struct RouteShape {
  int32_t num_tokens = 0;
  int32_t num_experts = 0;
  int32_t hidden = 0;
  int32_t num_groups = 1;
  // One order of sums for all steps of at most kSplitTokensMax tokens, and one for all others.
  bool batch_invariant = false;
};

struct RoutePlan {
  RouteKernel kernel = RouteKernel::kFew;
  int32_t tokens_a_block = 0;
  int32_t experts_a_block = 0;
  int32_t splits = 1;      // of the columns
  int32_t split_cols = 0;  // a multiple of kChunkCols, where there is more than one split
  int32_t num_blocks = 0;
  int32_t boxes = 1;        // all but kTiles: sums that meet; those of kCluster are a cluster's
  int32_t score_pitch = 0;  // words between two of them
  // All but kTiles: block first_finisher + i selects for the tokens i, i + num_finishers, ..; the
  // last block makes the experts' plan, after that if it is one of them.
  int32_t first_finisher = 0;
  int32_t num_finishers = 0;
};

// How many bytes of each expert's first weights, of `expert_bytes`, the L2 is asked for while the
// router leaves the memory idle; 0 where many of them would be for nothing.
uint32_t asked_expert_bytes(const RouteShape& shape, RouteKernel kernel, int32_t experts_per_token,
                            int64_t expert_bytes);

// Whether the kernel can norm its token itself: the only one, where a split is whole FP8 groups.
bool folds_norm(const RouteShape& shape);

// kTiles: splits * T * E <= the floats that route_scores_max() gives for the step's limits.
// num_places: blocks of kCluster that are there at the same time.
RoutePlan plan_route(const RouteShape& shape, int32_t num_sms, int32_t num_places);
int64_t route_scores_max(int32_t tokens_max, int32_t num_experts, int32_t num_sms,
                         bool batch_invariant = false);

// The others: boxes * T * score_pitch <= this.
int64_t route_box_words_max(int32_t tokens_max, int32_t num_experts);

}  // namespace mimo::kernels::cuda::router
