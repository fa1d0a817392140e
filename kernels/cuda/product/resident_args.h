#pragma once

#include <cuda.h>

#include "kernels/cuda/product/resident_plan.h"
#include "kernels/cuda/product/stream_args.h"

namespace mimo::kernels::cuda::product {

struct ResidentArgs {
  CUtensorMap w_map;  // PairedRows
  CUtensorMap x_map;  // the step's rows, boxes of 128 bytes by a tile's tokens
  StreamArgs stream;
  ResidentShape shape;
};

}  // namespace mimo::kernels::cuda::product
