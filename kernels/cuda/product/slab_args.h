#pragma once

#include <cuda.h>

#include "kernels/cuda/product/slab_plan.h"
#include "kernels/cuda/product/stream_args.h"

namespace mimo::kernels::cuda::product {

struct SlabArgs {
  CUtensorMap w_map;      // PairedRows: a block's part of a unit's rows
  CUtensorMap x_map;      // the step's rows, boxes of 128 bytes by a tile's tokens
  CUtensorMap scale_map;  // their scales, boxes of 32 by a tile's tokens
  StreamArgs stream;
  SlabShape shape;
};

}  // namespace mimo::kernels::cuda::product
