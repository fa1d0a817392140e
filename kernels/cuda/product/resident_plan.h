#pragma once

#include <cstdint>
#include <optional>

#include "kernels/cuda/product/swap_plan.h"

// How SM90 computes a dense product whose weights fit into the SMs' shared memory all at once: pure
// functions of the shape.
namespace mimo::kernels::cuda::product {

constexpr int32_t kResidentBlocks = 8;  // column blocks of 128 bytes that a warpgroup multiplies
constexpr int32_t kResidentBytes =
    128 * kResidentBlocks * kColumnBlockBytes;  // of weights, a block

// Column blocks that a block has on their way at once. More do not come sooner, but the kernels
// before this one, which are still at work, wait behind them in the memory's queues. H200, a step
// of 23 layers and one token: 0.989 ms with 4, 0.990 with 6, 1.013 with 8; the qkv of a layer takes
// 6.7, 7.1, 7.4 us there, its o_proj 4.0, 3.8, 3.9.
constexpr int32_t kResidentAhead = 4;

// The blocks of a cluster of `k_split` have the columns of one unit of weight rows among them, in
// slices of halves x 8 column blocks. A block's two warpgroups have 64 of 128 rows each, or the
// halves of 64 rows' columns.
struct ResidentShape {
  int32_t token_rows = 0;  // that there is room for: 8, 16, 32 or 64
  int32_t halves = 0;      // 2; with 64 tokens 1
  int32_t k_split = 0;     // 1, 2 or 4
  // Where the parts of the block's shared memory begin; the weights are at 0.
  int32_t tokens_at = 0;
  int32_t sums_at = 0;
  int32_t scales_at = 0;
  int32_t places_at = 0;
  int32_t barriers_at = 0;
  int32_t squares_at = 0;
  int32_t shared_bytes = 0;

  int32_t unit_rows() const { return 128 / halves; }
};

// Nothing where a weight row is not whole slices, as many as a cluster has blocks, or a block has
// no room.
std::optional<ResidentShape> resident_shape(DType dtype, int32_t cols, int32_t token_rows,
                                            int32_t shared_bytes_max);

// Whether a block can norm the FP8 rows of `cols` columns itself: its threads have whole rows.
bool folds_norm(const ResidentShape& shape, int32_t cols);

// Nothing where the kernel cannot compute it, or its units are more than there are clusters.
std::optional<ResidentShape> choose_resident(const SwapProblem& problem, int32_t num_tokens);

}  // namespace mimo::kernels::cuda::product
