#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/dtype.h"
#include "kernels/cuda/tile/tile_args.h"
#include "kernels/cuda/tile/tile_gemm.h"

namespace mimo::kernels::cuda {

// Tiled products by mma.sync, of any part from SM89 on. bf16 by bf16, or e4m3 by e4m3: the values
// become f16, which is exact, and the f32 sum of each 128 columns is multiplied by both scales.

// Once, before the first launch.
void prepare_mma_tile();
// cols a multiple of 8; ld of 16 bytes; any rows and rows_per_scale. `num_row_tiles`: the most that
// there can be.
void mma_tile(const TileArgs& p, DType dtype, TileOut out, int32_t num_row_tiles,
              cudaStream_t stream);

}  // namespace mimo::kernels::cuda
