#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "kernels/cuda/tile/tile_gemm.h"

namespace mimo::kernels::cuda {

// What the choice of a kernel rests on: a product without its pointers.
struct TileShape {
  int32_t capability = 0;  // 90, 100
  DType dtype = DType::kBf16;
  int32_t rows = 0;  // of the weight
  int32_t cols = 0;
  int32_t rows_per_scale = 128;
  TileOut out = TileOut::kBf16;
  bool grouped = false;   // over a plan's tiles
  bool gathered = false;  // through a_rows
  bool aligned = true;    // `a`, the weight and `out` begin at multiples of 16 bytes
};

// Why the kernel cannot do the product; null where it can. Not of kAuto.
const char* tile_refusal(TileKernel kernel, const TileShape& shape);

// `asked`, or for kAuto the fastest that can do it. CHECKs that what was asked for can.
TileKernel choose_tile_kernel(TileKernel asked, const TileShape& shape);

// Whether kWgmma's blocks should take 256 rows of the weight rather than 128.
bool wide_tiles(int64_t num_row_tiles, int32_t rows, int32_t num_sms);

}  // namespace mimo::kernels::cuda
