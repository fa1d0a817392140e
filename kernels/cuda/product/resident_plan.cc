#include "kernels/cuda/product/resident_plan.h"

#include "kernels/cuda/rows/folded_norm.h"

namespace mimo::kernels::cuda::product {

std::optional<ResidentShape> resident_shape(DType dtype, int32_t cols, int32_t token_rows,
                                            int32_t shared_bytes_max) {
  ResidentShape out;
  out.token_rows = token_rows;
  out.halves = token_rows == kSwapTokensMax ? 1 : 2;
  const int32_t blocks = out.halves * kResidentBlocks;
  const int32_t slice_bytes = blocks * kColumnBlockBytes;
  const int64_t row_bytes = cols * dtype_bytes(dtype);
  if (row_bytes % slice_bytes != 0) return std::nullopt;
  const int64_t k_split = row_bytes / slice_bytes;
  if (k_split != 1 && k_split != 2 && k_split != 4) return std::nullopt;
  out.k_split = static_cast<int32_t>(k_split);
  out.tokens_at = kResidentBytes;
  out.sums_at = out.tokens_at + token_rows * slice_bytes;
  out.scales_at = out.sums_at + token_rows * 128 * 4;
  const bool scaled = dtype == DType::kF8E4m3;
  out.places_at = out.scales_at + (scaled ? token_rows * blocks * 4 : 0);
  out.barriers_at = out.places_at + token_rows * 8;
  constexpr int32_t kBarriers = 192;
  out.squares_at = out.barriers_at + kBarriers;
  out.shared_bytes = out.squares_at + kFoldWarps * 4;
  if (out.shared_bytes > shared_bytes_max) return std::nullopt;
  return out;
}

bool folds_norm(const ResidentShape& shape, int32_t cols) {
  return shape.token_rows == 8 && cols <= kFoldHiddenMax;
}

std::optional<ResidentShape> choose_resident(const SwapProblem& p, int32_t num_tokens) {
  const int32_t token_rows = swap_token_rows(num_tokens);
  if (num_tokens == 0 || token_rows == 0 || swap_refusal(p) != nullptr) return std::nullopt;
  const auto out = resident_shape(p.dtype, p.cols, token_rows, p.shared_bytes_max);
  if (!out.has_value()) return std::nullopt;
  const size_t kind = out->k_split == 4 ? 2 : static_cast<size_t>(out->k_split) - 1;
  const int32_t units = (p.rows + out->unit_rows() - 1) / out->unit_rows();
  return units <= p.clusters[kind] ? out : std::nullopt;
}

}  // namespace mimo::kernels::cuda::product
