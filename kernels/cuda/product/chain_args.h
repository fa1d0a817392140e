#pragma once

#include <cuda.h>

#include "kernels/cuda/product/invariant_plan.h"
#include "kernels/cuda/product/stream_args.h"

namespace mimo::kernels::cuda::product {

struct ChainArgs {
  CUtensorMap w_map;  // PairedRows
  CUtensorMap x_map;  // the step's rows, boxes of 128 bytes by kChainTokens
  StreamArgs stream;
  int32_t k_blocks = 0;      // of 128 bytes, in a weight row
  int32_t chain_blocks = 0;  // of one chain; divides k_blocks
  int32_t token_tiles = 0;
  int32_t num_tiles = 0;  // units of 128 weight rows by tiles of tokens
};

}  // namespace mimo::kernels::cuda::product
