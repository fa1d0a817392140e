#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <span>

#include "kernels/cuda/attention/attention_args.h"

namespace mimo::kernels::cuda {

// The decode kernel whose keys the copy engine brings, for heads of at most k_dim and v_dim.
struct StreamKernel {
  int32_t k_dim = 0;
  int32_t v_dim = 0;
  int64_t shared_bytes = 0;  // of a block
  // Once, before the first launch.
  void (*allow_shared)() = nullptr;
  // Maps: rows of a pool as bytes, boxes of 128 bytes by p.box_rows rows. `blocks` fit the device
  // at once: they wait for one another.
  void (*launch)(const AttentionArgs& p, const CUtensorMap& k_map, const CUtensorMap& v_map,
                 int32_t blocks, cudaStream_t stream) = nullptr;
};

// All of them, narrowest first.
std::span<const StreamKernel> stream_kernels();

}  // namespace mimo::kernels::cuda
