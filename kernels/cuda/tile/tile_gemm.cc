#include "kernels/cuda/tile/tile_gemm.h"

#include <optional>

#include "kernels/cuda/tile/cublas_lt.h"
#include "kernels/cuda/tile/mma_tile.h"
#include "kernels/cuda/tile/tensor_maps.h"
#include "kernels/cuda/tile/tile_args.h"
#include "kernels/cuda/tile/tile_choice.h"
#include "kernels/cuda/tile/wgmma_tile.h"

namespace mimo::kernels::cuda {
namespace {

bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

void check_params(const TileGemmParams& p) {
  CHECK(p.w.dtype == DType::kBf16 || p.w.dtype == DType::kF8E4m3);
  CHECK(p.a != nullptr && p.w.values != nullptr && p.out != nullptr);
  CHECK_GE(p.num_rows, 0);
  CHECK_GT(p.w.rows, 0);
  CHECK_GT(p.w.cols, 0);
  CHECK_GE(p.w.ld, p.w.cols);
  CHECK_EQ(p.w.ld * dtype_bytes(p.w.dtype) % 16, 0);
  CHECK(aligned(p.w.values));
  CHECK_GE(p.a_rows_div, 1);
  if (p.out_kind == TileOut::kSiluMul) CHECK_EQ(p.w.rows % 2, 0);
  if (p.plan == nullptr) CHECK_EQ(p.w.count, 1);
  if (p.w.dtype != DType::kF8E4m3) return;
  CHECK(p.a_scales != nullptr && p.w.scales != nullptr);
  CHECK_GE(p.w.rows_per_scale, 1);
  CHECK_EQ(p.w.scale_cols, (p.w.cols + 127) / 128);
}

TileArgs tile_args(const TileGemmParams& p) {
  TileArgs out;
  out.a = p.a;
  out.a_scales = p.a_scales;
  out.a_rows = p.a_rows;
  out.a_rows_div = p.a_rows_div;
  out.w = p.w.values;
  out.w_scales = p.w.scales;
  out.out = p.out;
  if (p.plan != nullptr) {
    out.tiles = p.plan->tiles;
    out.num_tiles = p.plan->num_tiles;
  }
  out.num_rows = p.num_rows;
  out.rows = p.w.rows;
  out.cols = p.w.cols;
  out.ld = p.w.ld;
  out.out_cols = p.out_kind == TileOut::kSiluMul ? p.w.rows / 2 : p.w.rows;
  out.rows_per_scale = p.w.rows_per_scale;
  out.scale_rows = p.w.scale_rows();
  out.scale_cols = p.w.scale_cols;
  return out;
}

TileShape tile_shape(const TileGemmParams& p, int32_t capability) {
  return {.capability = capability,
          .dtype = p.w.dtype,
          .rows = p.w.rows,
          .cols = p.w.cols,
          .rows_per_scale = p.w.rows_per_scale,
          .out = p.out_kind,
          .grouped = p.plan != nullptr,
          .gathered = p.a_rows != nullptr,
          .aligned = aligned(p.a) && aligned(p.w.values) && aligned(p.out)};
}

}  // namespace

struct TileGemm::State {
  std::unique_ptr<CublasLt> cublas_lt;
  std::optional<TensorMaps> maps;  // SM90
};

TileGemm::TileGemm(DeviceContext& context) : context_(context) {}
TileGemm::~TileGemm() = default;

Result<void> TileGemm::prepare(const StepLimits&) {
  if (state_ != nullptr) return {};
  auto state = std::make_unique<State>();
  TRY_ASSIGN(state->cublas_lt, CublasLt::create(context_));
  if (context_.capability() == 90) {
    TRY_ASSIGN(state->maps, TensorMaps::create());
    prepare_wgmma_tile();
  }
  prepare_mma_tile();
  state_ = std::move(state);
  return {};
}

void TileGemm::run(const TileGemmParams& p) {
  CHECK(state_ != nullptr);
  check_params(p);
  if (p.num_rows == 0) return;
  const TileKernel kernel = choose_tile_kernel(p.kernel, tile_shape(p, context_.capability()));
  if (kernel == TileKernel::kCublasLt) {
    state_->cublas_lt->multiply(p.a, p.w, p.out, p.out_kind == TileOut::kF32, p.num_rows);
    return;
  }
  const TileArgs args = tile_args(p);
  const int32_t num_row_tiles = p.plan != nullptr
                                    ? expert_tiles_max(p.num_rows, p.w.count, tile_rows())
                                    : (p.num_rows + tile_rows() - 1) / tile_rows();
  if (kernel == TileKernel::kMmaSync) {
    mma_tile(args, p.w.dtype, p.out_kind, num_row_tiles, context_.stream());
    return;
  }
  // Gathered rows come by themselves: their map is there but never read.
  const CUtensorMap& w_map = state_->maps->weight(p.w, kWBoxRows);
  const CUtensorMap a_map =
      p.a_rows != nullptr ? w_map : state_->maps->rows(p.a, p.num_rows, p.w.cols, kABoxRows);
  wgmma_tile(a_map, w_map, args, p.out_kind,
             wide_tiles(num_row_tiles, p.w.rows, context_.num_sms()), num_row_tiles,
             context_.num_sms(), context_.stream());
}

}  // namespace mimo::kernels::cuda
