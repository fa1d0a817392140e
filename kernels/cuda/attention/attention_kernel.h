#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <span>

#include "kernels/cuda/attention/attention_args.h"

namespace mimo::kernels::cuda {

// One pair of kernels: heads of at most k_dim and v_dim, filled up with zeros to these.
struct AttentionKernel {
  int32_t k_dim = 0;
  int32_t v_dim = 0;
  // Shared bytes of a block.
  int64_t decode_bytes = 0;
  int64_t deep_decode_bytes = 0;  // see DecodeTuning
  int64_t prompt_bytes = 0;
  int64_t (*window_bytes)(int32_t row_tiles) = nullptr;  // 16 row_tiles packed rows of a block
  // Lets those that fit into `bytes_max` use their shared memory; once, before the first launch.
  void (*allow_shared)(int64_t bytes_max) = nullptr;
  void (*decode)(const AttentionArgs& p, dim3 grid, bool deep_ring, cudaStream_t stream) = nullptr;
  // Fewer blocks than units, where these have one or two row tiles, take them in turns.
  // `one_chain`: a row tile alone is summed as several are.
  void (*window)(const AttentionArgs& p, int32_t blocks, int32_t row_tiles, bool one_chain,
                 cudaStream_t stream) = nullptr;
  void (*prompt)(const AttentionArgs& p, dim3 grid, cudaStream_t stream) = nullptr;
};

AttentionKernel attention_kernel_64_64();
AttentionKernel attention_kernel_128_128();
AttentionKernel attention_kernel_192_128();
AttentionKernel attention_kernel_256_256();

// All of them, narrowest first.
std::span<const AttentionKernel> attention_kernels();
// The first that covers these widths: kernels/attention_choice.h lets no others come here.
const AttentionKernel& attention_kernel(int32_t k_dim, int32_t v_dim);

}  // namespace mimo::kernels::cuda
