#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace mimo::kernels::cuda {

// Rows of `a` and, in the narrow kernels, rows of the weight that a block multiplies.
constexpr int32_t kTileRows = 128;

// A product as the kernels of this folder get it: TileGemmParams, taken apart. Device pointers.
struct TileArgs {
  const void* a = nullptr;          // [*, cols]
  const float* a_scales = nullptr;  // [*, scale_cols]
  const int32_t* a_rows = nullptr;  // [M] or null
  int32_t a_rows_div = 1;
  const void* w = nullptr;          // [count][rows][ld]
  const float* w_scales = nullptr;  // [count][scale_rows][scale_cols]
  void* out = nullptr;              // [M, out_cols]
  const int4* tiles = nullptr;      // {expert, first row, rows, 0}; null: one weight
  const int32_t* num_tiles = nullptr;
  int32_t num_rows = 0;  // M where there is one weight
  int32_t rows = 0;
  int32_t cols = 0;
  int32_t ld = 0;
  int32_t out_cols = 0;  // rows, or half of them
  int32_t rows_per_scale = 128;
  int32_t scale_rows = 0;
  int32_t scale_cols = 0;
};

}  // namespace mimo::kernels::cuda
