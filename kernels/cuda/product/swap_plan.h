#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/dtype.h"
#include "kernels/cuda/product/stream_plan.h"

// How SM90 computes a product of few tokens: the weights are the 64 rows of wgmma, the tokens its 8
// to 64 columns. Pure functions of the shape.
namespace mimo::kernels::cuda::product {

constexpr int32_t kSwapRows = 128;  // weight rows of a unit
constexpr int32_t kSwapStageBytes = kSwapRows * kColumnBlockBytes;
constexpr int32_t kSwapTokensMax = 64;
constexpr int32_t kSwapTurnBytes = 16 * 32;  // of a warp: sixteen tokens' results on their way out
constexpr int32_t kSwapSplitMax = 4;
// Boxes of a grouped product that are on their way to a block at once, at most. So many keep the
// memory busy; behind a whole ring of them whatever else is read (scales, tokens, what the kernels
// beside need) waits some 6 us. H200, experts of 16 tokens: 3 boxes 165 us, 4 to 6 155, 12 158.
constexpr int32_t kSwapWindow = 4;
constexpr int32_t kSwapAskedAhead = 6;  // boxes that a block asks for before the plan is there
constexpr int32_t kSwapBlocksMax = 32;  // of a slice, with FP8: each lane keeps a block's scale

// A cluster of `k_split` blocks takes units of 128 weight rows by one tile of tokens, one behind
// the other. Each block multiplies its slice of the columns and keeps that part of the tile's
// tokens in shared memory.
struct SwapShape {
  int32_t token_rows = 0;    // 8, 16, 32 or 64
  int32_t k_blocks = 0;      // of 128 bytes, in a weight row
  int32_t k_split = 0;       // 1, 2 or 4
  int32_t slice_blocks = 0;  // of the widest slice
  int32_t stages = 0;        // of one unit's column block, 16 KB, in the ring at 0
  // Where the parts of the block's shared memory begin.
  int32_t tokens_at = 0;
  int32_t token_scales_at = 0;
  int32_t sums_at = 0;
  int32_t places_at = 0;
  int32_t turn_at = 0;
  int32_t barriers_at = 0;
  int32_t shared_bytes = 0;
};

// Nothing where a ring of kSwapStagesMin stages has no room, or a slice would be empty or too wide.
constexpr int32_t kSwapStagesMin = 3;
std::optional<SwapShape> swap_shape(DType dtype, int32_t cols, int32_t token_rows, int32_t k_split,
                                    int32_t shared_bytes_max);

enum class SwapRows : uint8_t {
  kPlain = 0,
  kGateUp = 1,  // [gate | up]
  kHeads = 2,   // heads of k_dim rows with 32 pairs to rotate, as qkv has them
};

// What a product is, as far as the choice goes.
struct SwapProblem {
  int32_t capability = 0;
  DType dtype = DType::kBf16;
  int32_t rows = 0;
  int32_t cols = 0;
  int32_t rows_per_scale = 128;
  SwapRows kind = SwapRows::kPlain;
  int32_t k_dim = 0;  // of kHeads
  int32_t half = 0;   // of kHeads
  // Clusters of 1, 2 and 4 blocks that run at once.
  std::array<int32_t, 3> clusters = {};
  int32_t shared_bytes_max = 0;
  bool batch_invariant = false;
};

// Why the kernel cannot compute it; null: it can.
const char* swap_refusal(const SwapProblem& problem);

// For tiles of at most `token_rows` tokens, of which there are about `num_tiles`. Nothing where it
// cannot, and for 0 `token_rows`. Batch-invariant: the columns are cut by the weight's width alone,
// and so is the order in which a row's products are added.
std::optional<SwapShape> choose_swap(const SwapProblem& problem, int32_t token_rows,
                                     double num_tiles);

// Into how many slices the batch-invariant mode cuts a weight's columns: slices of at most 16
// column blocks of e4m3 or 32 of bf16. H200, 4096 columns of 1024 x 4096 e4m3 for 1 to 128 tokens:
// as choose_swap() does without the mode.
int32_t invariant_k_split(DType dtype, int32_t cols);

// What a block may take of an SM's shared memory so that the next kernel's blocks find room beside
// it, and fetch their first weights before its end.
int32_t shared_half(int32_t shared_bytes_max);
// Whether two products over `num_tiles` tiles, one behind the other, should leave each other that
// room: they are so short that a deeper ring has no use. Not for dense products: 4096 x 2048 bf16
// by one token takes an H200 8.3 us so, and 6.3 us with the whole SM.
bool worth_sharing(double num_tiles);

// Whether so few of `count` matrices are without a tile that guessing them all busy pays.
bool nearly_all_busy(double num_tiles, int32_t count);

// The tile that holds `num_tokens`: 8, 16, 32, 64; 0 where there is none.
int32_t swap_token_rows(int64_t num_tokens);
// The tile for experts with `mean` rows each: few need a second tile, which reads the weights
// again. 0: more than a tile holds.
int32_t swap_expert_rows(double mean);
// Experts that serve at least one of `num_pairs` pairs spread evenly over `num_experts`.
double experts_busy(int64_t num_pairs, int32_t num_experts);

}  // namespace mimo::kernels::cuda::product
