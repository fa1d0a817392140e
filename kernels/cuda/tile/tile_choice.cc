#include "kernels/cuda/tile/tile_choice.h"

#include <string>

#include "base/check.h"

namespace mimo::kernels::cuda {
namespace {

const char* mma_refusal(const TileShape& shape) {
  if (shape.cols % 8 != 0) return "mma.sync: columns are not a multiple of 8";
  if (shape.dtype == DType::kF8E4m3 && shape.capability < 89) {
    return "mma.sync: e4m3 needs compute capability 8.9";
  }
  return nullptr;
}

const char* wgmma_refusal(const TileShape& shape) {
  if (shape.capability != 90) return "wgmma: needs compute capability 9.0";
  if (shape.dtype != DType::kF8E4m3) return "wgmma: the weight is not e4m3";
  if (shape.cols % 128 != 0) return "wgmma: columns are not a multiple of 128";
  // 64 rows of the weight that stand together have one scale.
  if (shape.rows_per_scale % 64 != 0) return "wgmma: rows_per_scale is not a multiple of 64";
  if (shape.out == TileOut::kSiluMul && shape.rows % 128 != 0) {
    return "wgmma: gate and up rows are not multiples of 64";
  }
  if (!shape.aligned) return "wgmma: a pointer is not a multiple of 16 bytes";
  return nullptr;
}

const char* cublas_lt_refusal(const TileShape& shape) {
  if (shape.dtype != DType::kBf16) return "cuBLASLt: the weight is not bf16";
  if (shape.grouped) return "cuBLASLt: the product is grouped";
  if (shape.gathered) return "cuBLASLt: the rows are gathered";
  if (shape.out == TileOut::kSiluMul) return "cuBLASLt: silu(gate) * up is wanted";
  if (shape.cols % 8 != 0) return "cuBLASLt: columns are not a multiple of 8";
  if (!shape.aligned) return "cuBLASLt: a pointer is not a multiple of 16 bytes";
  return nullptr;
}

}  // namespace

const char* tile_refusal(TileKernel kernel, const TileShape& shape) {
  switch (kernel) {
    case TileKernel::kMmaSync:
      return mma_refusal(shape);
    case TileKernel::kWgmma:
      return wgmma_refusal(shape);
    case TileKernel::kCublasLt:
      return cublas_lt_refusal(shape);
    case TileKernel::kAuto:
      break;
  }
  return "kAuto is no kernel";
}

TileKernel choose_tile_kernel(TileKernel asked, const TileShape& shape) {
  if (asked == TileKernel::kAuto) {
    for (const TileKernel kernel : {TileKernel::kCublasLt, TileKernel::kWgmma}) {
      if (tile_refusal(kernel, shape) == nullptr) return kernel;
    }
    asked = TileKernel::kMmaSync;
  }
  const char* const refusal = tile_refusal(asked, shape);
  if (refusal != nullptr) check_failed(__FILE__, __LINE__, "tile product", refusal);
  return asked;
}

bool wide_tiles(int64_t num_row_tiles, int32_t rows, int32_t num_sms) {
  const auto rounds = [&](int32_t tile_rows) {
    const int64_t tiles = num_row_tiles * ((rows + tile_rows - 1) / tile_rows);
    return (tiles + num_sms - 1) / num_sms;
  };
  // A wide tile does twice the work of a narrow one and reads 3/4 of the bytes for it; a tenth off
  // its time is what the choice counts on.
  return 18 * rounds(256) <= 10 * rounds(128);
}

}  // namespace mimo::kernels::cuda
