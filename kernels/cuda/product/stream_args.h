#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/product/stream.h"

namespace mimo::kernels::cuda::product {

// StreamParams as the kernel takes it.
struct StreamArgs {
  const uint8_t* w = nullptr;
  const float* w_scales = nullptr;
  int64_t w_bytes = 0;         // of one matrix
  int64_t w_scales_count = 0;  // of one matrix
  const void* x = nullptr;
  const float* x_scales = nullptr;
  void* out = nullptr;
  const int4* tiles = nullptr;  // null: not grouped
  const int32_t* num_tiles = nullptr;
  const int32_t* pairs = nullptr;
  int32_t pairs_div = 0;
  int32_t rows = 0;
  int32_t row_bytes = 0;  // from one weight row to the next
  int32_t rows_per_scale = 0;
  int32_t scale_cols = 0;
  int32_t cols = 0;
  int32_t num_tokens = 0;
  int32_t token_tiles = 1;     // not grouped
  int32_t units_per_tile = 0;  // of (8 / k_warps) x 16 rows
  int32_t out_cols = 0;
  StreamOut out_kind = StreamOut::kBf16;
  bool plan_is_ready = false;
  bool whole_vectors = false;  // x's rows begin at multiples of 16 bytes
  bool read_once = false;
  StreamShape shape;
  QkvTarget target;
};

// CHECKs what every streaming kernel counts on.
StreamArgs stream_args(const StreamParams& p);

}  // namespace mimo::kernels::cuda::product
