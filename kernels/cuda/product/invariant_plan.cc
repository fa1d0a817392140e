#include "kernels/cuda/product/invariant_plan.h"

#include <algorithm>

#include "kernels/cuda/product/resident_plan.h"

namespace mimo::kernels::cuda::product {
namespace {

constexpr int32_t kTileRows[] = {8, 16, 32, 64};

// The widest tile of those that, like all narrower ones, `takes`; 0: none.
template <typename Takes>
int32_t widest_tile(const Takes& takes) {
  int32_t out = 0;
  for (const int32_t rows : kTileRows) {
    if (!takes(rows)) break;
    out = rows;
  }
  return out;
}

SwapProblem invariant(SwapProblem p) {
  p.batch_invariant = true;
  return p;
}

int32_t swap_tile(const SwapProblem& p) {
  return widest_tile(
      [&](int32_t rows) { return choose_swap(invariant(p), rows, 1.0).has_value(); });
}

// Of slices that are all equally wide.
int32_t chain_blocks(const SwapProblem& p, int32_t slices) {
  const int64_t row_bytes = p.cols * dtype_bytes(p.dtype);
  const bool whole = row_bytes % (slices * kColumnBlockBytes) == 0;
  if (p.dtype != DType::kBf16 || p.kind != SwapRows::kPlain || !whole) return 0;
  return static_cast<int32_t>(row_bytes / (slices * kColumnBlockBytes));
}

// Slices as wide as `slices` of this weight's; of more tokens than `tokens_max`.
std::optional<SlabShape> slab_of(const SwapProblem& p, bool quantised, int32_t slices,
                                 int32_t tokens_max) {
  if (!quantised || slab_refusal(p) != nullptr || (slices != 2 && slices != 4)) return std::nullopt;
  const SlabTile tile = {.token_rows = slices == 4 ? 128 : 64, .token_tiles = 1, .k_split = slices};
  const int32_t units = (p.rows + kSlabRows - 1) / kSlabRows;
  if (tile.token_rows <= tokens_max || units > p.clusters[slices == 4 ? 2 : 1]) return std::nullopt;
  return slab_shape(tile, p.cols, p.shared_bytes_max);
}

}  // namespace

InvariantPlan plan_invariant(const SwapProblem& p, bool quantised) {
  const bool ready = quantised || p.dtype != DType::kF8E4m3;
  const int32_t resident =
      widest_tile([&](int32_t rows) { return ready && choose_resident(p, rows).has_value(); });
  if (resident > 0) {
    const auto shape = *choose_resident(p, resident);
    // H200, 4096 x 2048: 64 tokens by two launches 12.3 us, by the chains' kernel 15.2; 256 by
    // eight 44.5, 15.9.
    const int32_t slices = shape.halves * shape.k_split;
    return {InvariantKernel::kResident, resident, chain_blocks(p, slices), 2 * resident + 1,
            slab_of(p, quantised, slices, resident)};
  }
  const int32_t swapped = swap_tile(p);
  if (swapped > 0) {
    // H200, 38144 x 4096: 64 tokens by two launches 171 us, by the chains' kernel 95; 256 719, 259.
    const int32_t slices = invariant_k_split(p.dtype, p.cols);
    return {InvariantKernel::kSwap, swapped, chain_blocks(p, slices), swapped + 1,
            slab_of(p, quantised, slices, swapped)};
  }
  return {};
}

int32_t invariant_expert_rows(const SwapProblem& gate_up, const SwapProblem& down, double mean) {
  const int32_t widest = std::min(swap_tile(gate_up), swap_tile(down));
  const int32_t wanted = swap_expert_rows(mean);
  return wanted == 0 ? widest : std::min(wanted, widest);
}

}  // namespace mimo::kernels::cuda::product
