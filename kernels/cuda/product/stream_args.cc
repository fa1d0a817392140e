#include "kernels/cuda/product/stream_args.h"

#include <algorithm>

#include "base/check.h"

namespace mimo::kernels::cuda::product {
namespace {

int32_t num_sixteens(const StreamParams& p) {
  if (p.out_kind == StreamOut::kSiluMul) return (p.w.rows / 2 + 7) / 8;
  return (p.w.rows + kStreamRows - 1) / kStreamRows;
}

}  // namespace

StreamArgs stream_args(const StreamParams& p) {
  const bool fp8 = p.w.dtype == DType::kF8E4m3;
  CHECK(fp8 || p.w.dtype == DType::kBf16);
  CHECK(fp8 == (p.w.scales != nullptr));
  CHECK(p.out_kind != StreamOut::kSiluMul || p.w.rows % 2 == 0);
  CHECK(p.out_kind != StreamOut::kQkv || rotates_in_place(p.target));
  CHECK_EQ(p.w.ld * dtype_bytes(p.w.dtype) % 16, 0);
  StreamArgs out;
  out.w = static_cast<const uint8_t*>(p.w.values);
  out.w_scales = p.w.scales;
  out.w_bytes = p.w.value_bytes();
  out.w_scales_count = p.w.num_scales();
  out.x = p.x;
  out.x_scales = p.x_scales;
  out.out = p.out;
  if (p.plan != nullptr) {
    out.tiles = p.plan->tiles;
    out.num_tiles = p.plan->num_tiles;
    out.pairs = p.plan->pairs;
    out.pairs_div = p.pairs_div;
    out.plan_is_ready = p.plan_is_ready;
  }
  out.rows = p.w.rows;
  out.row_bytes = static_cast<int32_t>(p.w.ld * dtype_bytes(p.w.dtype));
  out.rows_per_scale = std::max(1, p.w.rows_per_scale);
  out.scale_cols = p.w.scale_cols;
  out.cols = p.w.cols;
  out.num_tokens = p.num_tokens;
  out.token_tiles =
      p.plan != nullptr ? 1 : (p.num_tokens + p.shape.token_rows - 1) / p.shape.token_rows;
  const int32_t sixteens_per_unit = kStreamWarps / p.shape.k_warps;
  out.units_per_tile = (num_sixteens(p) + sixteens_per_unit - 1) / sixteens_per_unit;
  out.out_cols = p.out_kind == StreamOut::kSiluMul ? p.w.rows / 2 : p.w.rows;
  out.out_kind = p.out_kind;
  out.whole_vectors = p.w.cols * (fp8 ? 1 : 2) % 16 == 0;
  out.read_once = out.token_tiles == 1;
  out.shape = p.shape;
  out.target = p.target;
  return out;
}

}  // namespace mimo::kernels::cuda::product
