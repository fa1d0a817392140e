#pragma once

#include <cuda.h>

#include "kernels/cuda/product/resident_plan.h"
#include "kernels/cuda/product/stream_args.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda::product {

struct ResidentArgs {
  CUtensorMap w_map;  // PairedRows
  CUtensorMap x_map;  // the step's rows, boxes of 128 bytes by a tile's tokens
  StreamArgs stream;
  ResidentShape shape;
  AddNormParams norm;  // that makes x; num_tokens 0: x is there
};

}  // namespace mimo::kernels::cuda::product
