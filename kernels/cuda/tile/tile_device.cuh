#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/tile/tile_args.h"
#include "kernels/device/mma.cuh"

// What the tiled kernels share.
namespace mimo::kernels::cuda {

// At most kTileRows sorted rows of one expert; of the only weight where there is no plan.
struct RowTile {
  int32_t expert;
  int32_t first;  // of the output's rows
  int32_t rows;   // at least 1
};

__device__ __forceinline__ int32_t num_row_tiles(const TileArgs& p) {
  return p.tiles != nullptr ? *p.num_tiles : (p.num_rows + kTileRows - 1) / kTileRows;
}

__device__ __forceinline__ RowTile row_tile(const TileArgs& p, int32_t i) {
  if (p.tiles != nullptr) {
    const int4 tile = p.tiles[i];
    return {tile.x, tile.y, tile.z};
  }
  const int32_t first = i * kTileRows;
  return {0, first, min(p.num_rows - first, kTileRows)};
}

// The row of `a` behind an output row.
__device__ __forceinline__ int32_t source_row(const TileArgs& p, int32_t row) {
  return p.a_rows != nullptr ? p.a_rows[row] / p.a_rows_div : row;
}

__device__ __forceinline__ float silu_mul(float gate, float up) {
  return __fdividef(gate, 1.0f + __expf(-gate)) * up;
}

// The two values of columns `col` and `col` + 1 (col is even), those of them that there are.
__device__ __forceinline__ void store_pair(__nv_bfloat16* row, int32_t col, int32_t cols, float low,
                                           float high) {
  if (cols % 2 == 0) {
    if (col < cols) *reinterpret_cast<uint32_t*>(row + col) = device::pack_bf16(low, high);
    return;
  }
  if (col < cols) row[col] = __float2bfloat16(low);
  if (col + 1 < cols) row[col + 1] = __float2bfloat16(high);
}
__device__ __forceinline__ void store_pair(float* row, int32_t col, int32_t cols, float low,
                                           float high) {
  if (cols % 2 == 0) {
    if (col < cols) *reinterpret_cast<float2*>(row + col) = make_float2(low, high);
    return;
  }
  if (col < cols) row[col] = low;
  if (col + 1 < cols) row[col + 1] = high;
}

}  // namespace mimo::kernels::cuda
