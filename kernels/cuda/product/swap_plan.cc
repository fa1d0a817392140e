#include "kernels/cuda/product/swap_plan.h"

#include <algorithm>
#include <cmath>

namespace mimo::kernels::cuda::product {
namespace {

constexpr int32_t kAlignment = 1024;  // of operands; where a block's shared memory begins is free
constexpr int32_t kReservedBytes = 1024;  // of an SM, for each block beyond the first
constexpr int32_t kBf16TokensMax = 32;
constexpr int32_t kStagesGood = 6;  // 96 KB under way
// What a unit costs beside its bytes, in column blocks: sums that cross a cluster.
constexpr double kUnitBlocks = 0.25;

bool fp8(DType dtype) { return dtype == DType::kF8E4m3; }
int32_t num_units(int32_t rows) { return (rows + kSwapRows - 1) / kSwapRows; }

// Column blocks that the busiest cluster's blocks multiply, one behind the other.
double blocks_in_turn(const SwapShape& shape, double units, int32_t clusters) {
  const double per_unit = shape.slice_blocks + (shape.k_split > 1 ? kUnitBlocks : 0.0);
  const double missing = std::max(0, std::min(kStagesGood, shape.slice_blocks) - shape.stages);
  return std::ceil(units / clusters) * per_unit * (1.0 + 0.2 * missing);
}

}  // namespace

std::optional<SwapShape> swap_shape(DType dtype, int32_t cols, int32_t token_rows, int32_t k_split,
                                    int32_t shared_bytes_max) {
  const int64_t row_bytes = cols * dtype_bytes(dtype);
  SwapShape out;
  out.token_rows = token_rows;
  out.k_split = k_split;
  out.k_blocks = static_cast<int32_t>((row_bytes + kColumnBlockBytes - 1) / kColumnBlockBytes);
  out.slice_blocks = (out.k_blocks + k_split - 1) / k_split;
  if (out.k_blocks < k_split) return std::nullopt;
  if (fp8(dtype) && out.slice_blocks > kSwapBlocksMax) return std::nullopt;
  const int64_t tokens = int64_t{out.slice_blocks} * token_rows * kColumnBlockBytes;
  const int64_t scales = fp8(dtype) ? int64_t{out.slice_blocks} * token_rows * 4 : 0;
  // Twice the sums that the cluster's blocks send for this block's part of the rows.
  const int64_t sums = k_split > 1 ? int64_t{2} * kSwapRows * token_rows * 4 : 0;
  const int64_t places = int64_t{16} * token_rows;
  const int64_t turn = k_split == 1 ? kSwapRows / 16 * kSwapTurnBytes : 0;
  constexpr int64_t kBarriers = 256;
  const int64_t rest = tokens + scales + sums + places + turn + kBarriers + kAlignment;
  const int64_t room = (shared_bytes_max - rest) / kSwapStageBytes;
  constexpr int64_t kStagesMax = 12;
  if (room < kSwapStagesMin) return std::nullopt;
  out.stages = static_cast<int32_t>(std::min(room, kStagesMax));
  out.tokens_at = out.stages * kSwapStageBytes;
  out.token_scales_at = static_cast<int32_t>(out.tokens_at + tokens);
  out.sums_at = static_cast<int32_t>(out.token_scales_at + scales);
  out.places_at = static_cast<int32_t>(out.sums_at + sums);
  out.turn_at = static_cast<int32_t>(out.places_at + places);
  out.barriers_at = static_cast<int32_t>(out.turn_at + turn);
  out.shared_bytes = static_cast<int32_t>(out.barriers_at + kBarriers + kAlignment);
  return out;
}

const char* swap_refusal(const SwapProblem& p) {
  if (p.capability != 90) return "swap: needs compute capability 9.0";
  if (!fp8(p.dtype) && p.dtype != DType::kBf16) return "swap: the weight is neither e4m3 nor bf16";
  if (p.cols * dtype_bytes(p.dtype) % 16 != 0) return "swap: rows are no multiples of 16 bytes";
  if (p.rows % 16 != 0) return "swap: rows are no multiple of 16";
  if (fp8(p.dtype) && p.rows_per_scale % 8 != 0) {
    return "swap: rows_per_scale is no multiple of 8";
  }
  if (p.kind == SwapRows::kHeads && (p.rows % 64 != 0 || p.k_dim % 64 != 0 || p.half != 32)) {
    return "swap: heads are no multiples of 64 rows, or not 64 of them are rotated";
  }
  return nullptr;
}

int32_t invariant_k_split(DType dtype, int32_t cols) {
  const int64_t widest = fp8(dtype) ? 16 : 32;
  const int64_t blocks = (cols * dtype_bytes(dtype) + kColumnBlockBytes - 1) / kColumnBlockBytes;
  int32_t out = 1;
  while (out < kSwapSplitMax && blocks > widest * out) out *= 2;
  return out;
}

std::optional<SwapShape> choose_swap(const SwapProblem& p, int32_t token_rows, double num_tiles) {
  if (token_rows == 0 || swap_refusal(p) != nullptr) return std::nullopt;
  // Dense bf16 products of more rows are cuBLASLt's. H200, 64 rows: 38144 x 4096 in 86 us, here
  // 171; 4096 x 2048 in 12.5 us, here 24.6.
  if (p.dtype == DType::kBf16 && token_rows > kBf16TokensMax) return std::nullopt;
  std::optional<SwapShape> best;
  double best_cost = 0.0;
  for (int32_t i = 0; i < 3; ++i) {
    if (p.batch_invariant && 1 << i != invariant_k_split(p.dtype, p.cols)) continue;
    const int32_t clusters = p.clusters[static_cast<size_t>(i)];
    const auto shape = swap_shape(p.dtype, p.cols, token_rows, 1 << i, p.shared_bytes_max);
    if (clusters == 0 || !shape.has_value()) continue;
    const double cost = blocks_in_turn(*shape, num_tiles * num_units(p.rows), clusters);
    if (best.has_value() && cost >= best_cost) continue;
    best = shape;
    best_cost = cost;
  }
  return best;
}

int32_t shared_half(int32_t shared_bytes_max) {
  return (shared_bytes_max - kReservedBytes) / 2 / 128 * 128;
}

bool worth_sharing(double num_tiles) {
  constexpr double kTilesFew = 40.0;
  return num_tiles <= kTilesFew;
}

bool nearly_all_busy(double num_tiles, int32_t count) { return num_tiles >= 0.95 * count; }

int32_t swap_token_rows(int64_t num_tokens) {
  for (int32_t rows = 8; rows <= kSwapTokensMax; rows *= 2) {
    if (num_tokens <= rows) return rows;
  }
  return 0;
}

int32_t swap_expert_rows(double mean) {
  return swap_token_rows(static_cast<int64_t>(std::ceil(mean + 2.5 * std::sqrt(mean))));
}

double experts_busy(int64_t num_pairs, int32_t num_experts) {
  const double count = std::max(1, num_experts);
  return count * (1.0 - std::pow(1.0 - 1.0 / count, static_cast<double>(num_pairs)));
}

}  // namespace mimo::kernels::cuda::product
