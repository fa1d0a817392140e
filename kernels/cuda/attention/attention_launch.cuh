#pragma once

#include "kernels/cuda/attention/attention_decode.cuh"
#include "kernels/cuda/attention/attention_kernel.h"
#include "kernels/cuda/attention/attention_prompt.cuh"
#include "kernels/cuda/launch.h"

namespace mimo::kernels::cuda {

// Heads of kK and kV columns; the decode kernel keeps kStages - 1 blocks of keys under way.
template <int kK, int kV, int kStages>
struct AttentionLaunch {
  using Decode = AttentionTile<kK, kV, 4, kDecodeTileRows, kStages>;
  using ShortDecode = AttentionTile<kK, kV, 4, kDecodeTileRows, 2>;
  using Prompt = AttentionTile<kK, kV, 8, kPromptTileRows, 2>;

  static void allow_shared(int64_t bytes_max) {
    if (Decode::kSharedBytes <= bytes_max) {
      cuda::allow_shared(attention_decode_kernel<Decode>, Decode::kSharedBytes);
    }
    if (ShortDecode::kSharedBytes <= bytes_max) {
      cuda::allow_shared(attention_decode_kernel<ShortDecode>, ShortDecode::kSharedBytes);
    }
    if (Prompt::kSharedBytes <= bytes_max) {
      cuda::allow_shared(attention_prompt_kernel<Prompt>, Prompt::kSharedBytes);
    }
  }

  static void decode(const AttentionArgs& p, dim3 grid, bool few_keys, cudaStream_t stream) {
    if (few_keys) {
      launch(attention_decode_kernel<ShortDecode>,
             {grid, dim3(ShortDecode::kThreads), ShortDecode::kSharedBytes}, stream, p);
    } else {
      launch(attention_decode_kernel<Decode>, {grid, dim3(Decode::kThreads), Decode::kSharedBytes},
             stream, p);
    }
  }

  static void prompt(const AttentionArgs& p, dim3 grid, cudaStream_t stream) {
    launch(attention_prompt_kernel<Prompt>, {grid, dim3(Prompt::kThreads), Prompt::kSharedBytes},
           stream, p);
  }

  static AttentionKernel kernel() {
    return {kK,
            kV,
            Decode::kSharedBytes,
            ShortDecode::kSharedBytes,
            Prompt::kSharedBytes,
            allow_shared,
            decode,
            prompt};
  }
};

}  // namespace mimo::kernels::cuda
