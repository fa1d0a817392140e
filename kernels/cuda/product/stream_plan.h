#pragma once

#include <cstdint>
#include <optional>

#include "base/dtype.h"

// How a product is computed: pure functions of its shape.
namespace mimo::kernels::cuda::product {

constexpr int32_t kStreamWarps = 8;         // of a block
constexpr int32_t kStreamRows = 16;         // weight rows that a warp multiplies at once
constexpr int32_t kColumnBlockBytes = 128;  // of a weight row that a warp takes a step
constexpr int32_t kStreamTokensMax = 32;

// Steps of 2 KB of weights that each warp has under way: 48 KB or more of a block's eight warps.
// What the tokens of a row of 8 KB (4096 bf16 columns) leave of a block's shared memory bounds it.
constexpr int32_t stream_stages(DType dtype, int32_t token_rows) {
  if (token_rows == 16) return dtype == DType::kF8E4m3 ? 6 : 4;
  return token_rows == 8 ? 4 : 3;
}

// One streaming product. A block keeps the inputs of `token_rows` tokens in shared memory and
// takes units of (8 / k_warps) x 16 weight rows, one behind the other.
struct StreamShape {
  int32_t token_rows = 0;  // 8, 16 or 32
  int32_t k_blocks = 0;    // of 128 bytes, in a weight row
  int32_t k_warps = 0;     // warps that share a weight row: 1, 2, 4 or 8
  int32_t blocks_per_sm = 0;
  // Where the parts of the block's shared memory begin; the ring of weights is at 0.
  int32_t ring_scales_at = 0;
  int32_t tokens_at = 0;
  int32_t token_scales_at = 0;
  int32_t sums_at = 0;
  int32_t places_at = 0;
  int32_t shared_bytes = 0;
  // Bytes from one token to the next: 64 past a multiple of 128, so that eight lanes that read 16
  // bytes each of two tokens meet in no bank.
  int32_t token_pitch = 0;
};

// With at most `token_rows` (8, 16, 32) tokens a block; fewer where a block's shared memory has no
// room for more; nothing where it has none for 8.
std::optional<StreamShape> stream_shape(DType dtype, int32_t cols, int32_t token_rows,
                                        int32_t shared_bytes_max);

// A dense product: through the streaming kernel (with this shape) or, without one, the tiled one.
std::optional<StreamShape> choose_dense(DType dtype, int32_t cols, int32_t num_tokens,
                                        int32_t shared_bytes_max);

// The experts' products: tiles of `tile_rows` rows for the streaming kernel, or 0 for the tiled
// one.
struct ExpertsShape {
  DType gate_up_dtype = DType::kBf16;
  DType down_dtype = DType::kBf16;
  int32_t hidden = 0;
  int32_t columns = 0;
  int64_t num_pairs = 0;    // tokens x experts a token
  int32_t num_experts = 0;  // that they are spread over
  // Batch-invariant: one kernel for decode steps and one for all others.
  bool batch_invariant = false;
  bool decode = false;
};
int32_t choose_expert_rows(const ExpertsShape& shape, int32_t shared_bytes_max);

}  // namespace mimo::kernels::cuda::product
