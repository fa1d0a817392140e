#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/tile/tile_args.h"
#include "kernels/cuda/tile/tile_gemm.h"

namespace mimo::kernels::cuda {

// Tiled e4m3 products of SM90: TMA or gathered copies feed wgmma, one block an SM, each walking the
// tiles. See wgmma_refusal() (tile_choice.h) for what it takes.
struct WgmmaArgs {
  CUtensorMap a_map;  // of the rows of `a`; unused where a_rows gathers them
  CUtensorMap w_map;
  TileArgs tile;
  TileOut out = TileOut::kBf16;
  int32_t num_col_tiles = 0;
};

// What a box of each map covers: 128 columns and so many rows.
constexpr int32_t kABoxRows = kTileRows;
constexpr int32_t kWBoxRows = 64;

// Once, before the first launch.
void prepare_wgmma_tile();
// wide: 256 rows of the weight a block, else 128. `num_row_tiles`: the most that there can be.
void wgmma_tile(const CUtensorMap& a_map, const CUtensorMap& w_map, const TileArgs& p, TileOut out,
                bool wide, int32_t num_row_tiles, int32_t num_sms, cudaStream_t stream);

}  // namespace mimo::kernels::cuda
