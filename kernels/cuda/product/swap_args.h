#pragma once

#include <cuda.h>

#include "kernels/cuda/product/stream_args.h"
#include "kernels/cuda/product/swap_plan.h"

namespace mimo::kernels::cuda::product {

// stream.shape has token_rows and places_at of `shape`, for what the kernels share.
struct SwapArgs {
  CUtensorMap w_map;  // PairedRows
  StreamArgs stream;
  SwapShape shape;
  int32_t window = 0;           // boxes of a block that are on their way at once, at most
  int32_t guessed_tiles = 0;    // before the plan is there; 0: no guess
  bool stores_vectors = false;  // results as whole 16 bytes, where they are not split
};

}  // namespace mimo::kernels::cuda::product
