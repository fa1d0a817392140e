#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/attention/attention_args.h"

namespace mimo::kernels::cuda {

// The prompt kernel of SM90: keys of at most 192 columns, values of at most 128.
int64_t wgmma_prompt_shared_bytes();
// Once, before the first launch.
void allow_wgmma_prompt();
// Maps as in stream_kernel.h; grid: (prompt_tiles_max(), kv_heads).
void launch_wgmma_prompt(const AttentionArgs& p, const CUtensorMap& k_map, const CUtensorMap& v_map,
                         dim3 grid, cudaStream_t stream);

}  // namespace mimo::kernels::cuda
