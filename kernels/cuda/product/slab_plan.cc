#include "kernels/cuda/product/slab_plan.h"

#include <algorithm>

namespace mimo::kernels::cuda::product {

const char* slab_refusal(const SwapProblem& p) {
  if (const char* const refusal = swap_refusal(p)) return refusal;
  if (p.dtype != DType::kF8E4m3) return "slab: the weight is not e4m3";
  if (p.rows_per_scale % 32 != 0) return "slab: rows_per_scale is no multiple of 32";
  if (p.kind == SwapRows::kPlain && p.rows_per_scale % 64 != 0) {
    return "slab: rows_per_scale is no multiple of 64";
  }
  if (p.kind == SwapRows::kGateUp && p.rows % 64 != 0) {
    return "slab: gate and up are no multiples of 32 rows";
  }
  return nullptr;
}

std::optional<SlabShape> slab_shape(const SlabTile& tile, int32_t cols, int32_t shared_bytes_max) {
  const int32_t slice_cols = tile.k_split * kColumnBlockBytes;
  if (cols % (kSlabBlocksStep * slice_cols) != 0) return std::nullopt;
  if (cols / slice_cols > kSlabBlocksMax) return std::nullopt;
  SlabShape out;
  out.tile = tile;
  out.slice_blocks = cols / slice_cols;
  out.scales_at = tile.stages() * tile.stage_bytes();
  out.sums_at = out.scales_at + tile.scale_bytes();
  out.turns_at = out.sums_at + tile.sums_bytes();
  out.places_at = out.turns_at + tile.turn_bytes();
  out.columns_at = out.places_at + tile.finished_rows() * 8;
  out.barriers_at = out.places_at + tile.place_bytes();
  out.shared_bytes = out.barriers_at + kSlabBarrierBytes;
  if (out.shared_bytes > shared_bytes_max) return std::nullopt;
  return out;
}

std::optional<SlabShape> choose_slab(const SwapProblem& p, int32_t num_tokens) {
  if (num_tokens <= kSlabTokensMin || num_tokens > kSlabTokensMax) return std::nullopt;
  if (slab_refusal(p) != nullptr) return std::nullopt;
  const int32_t units = (p.rows + kSlabRows - 1) / kSlabRows;
  // The fastest first.
  for (const SlabTile& tile : {SlabTile{64, 1, 2}, {128, 1, 4}, {128, 1, 2}, {128, 2, 2}}) {
    if (num_tokens > tile.token_rows * tile.token_tiles) continue;
    if (units > p.clusters[tile.cluster() == 4 ? 2 : 1]) continue;
    const auto out = slab_shape(tile, p.cols, p.shared_bytes_max);
    if (out.has_value()) return out;
  }
  return std::nullopt;
}

}  // namespace mimo::kernels::cuda::product
