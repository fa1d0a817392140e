#pragma once

#include <cstdint>
#include <optional>

#include "kernels/cuda/product/swap_plan.h"

// How SM90 computes dense FP8 products of up to 256 tokens: 64 tokens are the rows of wgmma, 128
// weight rows its columns. Pure functions of the shape.
namespace mimo::kernels::cuda::product {

constexpr int32_t kSlabRows = 128;  // weight rows of a unit
constexpr int32_t kSlabTokens = 64;
constexpr int32_t kSlabTokensMin = 32;  // fewer are the other kernels'
constexpr int32_t kSlabTokensMax = 256;
constexpr int32_t kSlabWeightBytes = kSlabRows * kColumnBlockBytes;  // of a stage
constexpr int32_t kSlabSharedBytes = 227 * 1024;                     // of a block
constexpr int32_t kSlabBarrierBytes = 256;
constexpr int32_t kSlabBlocksMax = 32;    // of a slice: each lane keeps a block's scales
constexpr int32_t kSlabBlocksStep = 8;    // a slice is a multiple of so many
constexpr int32_t kSlabScaleBytes = 128;  // of a token
constexpr int32_t kSlabTurns = 32;        // pairs of a head that are rotated

// How a cluster of `k_split` x `token_tiles` blocks shares a unit of 128 weight rows: each block
// multiplies a slice of the columns by `token_rows` tokens. Those of a slice bring its weights for
// each other; those of the same tokens add up their sums, each finishing a part of the tokens.
struct SlabTile {
  int32_t token_rows = 0;  // of a block: 64 or 128
  int32_t token_tiles = 0;
  int32_t k_split = 0;

  constexpr int32_t cluster() const { return token_tiles * k_split; }
  // With 64 tokens the two warpgroups that multiply take column blocks in turn.
  constexpr int32_t groups() const { return token_rows == kSlabTokens ? 2 : 1; }
  constexpr int32_t finished_rows() const { return token_rows / k_split; }  // tokens, by one block
  constexpr int32_t source_bytes() const { return finished_rows() * kSlabRows * 4; }
  // The sums that other blocks send.
  constexpr int32_t sums_bytes() const { return (k_split - 1) * groups() * source_bytes(); }
  constexpr int32_t scale_bytes() const { return token_rows * kSlabScaleBytes; }
  constexpr int32_t turn_bytes() const { return finished_rows() * kSlabTurns * 8; }
  // Of the tokens, of the columns.
  constexpr int32_t place_bytes() const { return finished_rows() * 8 + kSlabRows / 8 * 8; }
  constexpr int32_t stage_bytes() const {
    return kSlabWeightBytes + token_rows * kColumnBlockBytes;
  }
  constexpr int32_t stages() const {
    return (kSlabSharedBytes - scale_bytes() - sums_bytes() - turn_bytes() - place_bytes() -
            kSlabBarrierBytes) /
           stage_bytes();
  }
  bool operator==(const SlabTile&) const = default;
};

struct SlabShape {
  SlabTile tile;
  int32_t slice_blocks = 0;  // of 128 columns
  // Where the parts of the block's shared memory begin; the ring is at 0, and later the sums that
  // the block keeps.
  int32_t scales_at = 0;
  int32_t sums_at = 0;
  int32_t turns_at = 0;
  int32_t places_at = 0;
  int32_t columns_at = 0;
  int32_t barriers_at = 0;
  int32_t shared_bytes = 0;
};

// Why the kernel cannot compute it with any number of tokens; null: it can.
const char* slab_refusal(const SwapProblem& problem);

// Nothing where the columns are no whole slices, a slice is too wide, or a block has no room.
std::optional<SlabShape> slab_shape(const SlabTile& tile, int32_t cols, int32_t shared_bytes_max);

// Nothing where the kernel cannot compute it, its units are more than there are clusters, or
// another kernel is faster.
std::optional<SlabShape> choose_slab(const SwapProblem& problem, int32_t num_tokens);

}  // namespace mimo::kernels::cuda::product
