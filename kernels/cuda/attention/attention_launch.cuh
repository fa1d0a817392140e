#pragma once

#include <algorithm>

#include "kernels/cuda/attention/attention_decode.cuh"
#include "kernels/cuda/attention/attention_kernel.h"
#include "kernels/cuda/attention/attention_prompt.cuh"
#include "kernels/cuda/attention/attention_window.cuh"
#include "kernels/cuda/launch.h"

namespace mimo::kernels::cuda {

// Heads of kK and kV columns; kDeepStages: DecodeTuning::deep_ring.
template <int kK, int kV, int kDeepStages>
struct AttentionLaunch {
  using Decode = AttentionTile<kK, kV, 4, kDecodeTileRows, 2>;
  using DeepDecode = AttentionTile<kK, kV, 4, kDecodeTileRows, kDeepStages>;
  using Window = AttentionTile<kK, kV, kWindowKeysMax / 16, kDecodeTileRows, 1, /*kHold=*/false>;
  struct OneChainWindow : Window {
    static constexpr bool kOneChain = true;
  };
  using Prompt = AttentionTile<kK, kV, 8, kPromptTileRows, 2>;

  static void allow_shared(int64_t bytes_max) {
    allow(attention_decode_kernel<Decode>, Decode::kSharedBytes, bytes_max);
    allow(attention_decode_kernel<DeepDecode>, DeepDecode::kSharedBytes, bytes_max);
    const int64_t bytes = std::min(window_bytes(kDecodeTileRows / 16), bytes_max);
    allow(attention_window_kernel<Window, 1, false>, bytes, bytes_max);
    allow(attention_window_kernel<Window, 1, true>, bytes, bytes_max);
    allow(attention_window_kernel<OneChainWindow, 1, false>, bytes, bytes_max);
    allow(attention_window_kernel<OneChainWindow, 1, true>, bytes, bytes_max);
    allow(attention_window_kernel<Window, 2, true>, bytes, bytes_max);
    allow(attention_window_kernel<Window, 2, false>, bytes, bytes_max);
    allow(attention_window_kernel<Window, 4, false>, bytes, bytes_max);
    allow(attention_prompt_kernel<Prompt>, Prompt::kSharedBytes, bytes_max);
  }

  static void decode(const AttentionArgs& p, dim3 grid, bool deep_ring, cudaStream_t stream) {
    if (deep_ring) {
      launch(attention_decode_kernel<DeepDecode>,
             {grid, dim3(DeepDecode::kThreads), DeepDecode::kSharedBytes}, stream, p);
    } else {
      launch(attention_decode_kernel<Decode>, {grid, dim3(Decode::kThreads), Decode::kSharedBytes},
             stream, p);
    }
  }

  static int64_t window_bytes(int32_t row_tiles) { return window_shared_bytes<Window>(row_tiles); }
  static void window(const AttentionArgs& p, int32_t blocks, int32_t row_tiles, bool one_chain,
                     cudaStream_t stream) {
    const int32_t per_run = p.tiles * p.kv_heads;
    const bool turns = blocks < p.num_runs * per_run;
    const LaunchShape shape = {
        turns ? dim3(static_cast<unsigned>(blocks))
              : dim3(static_cast<unsigned>(per_run), static_cast<unsigned>(p.num_runs)),
        dim3(Window::kThreads), window_bytes(row_tiles)};
    const auto one = one_chain ? one_tile<OneChainWindow>(turns) : one_tile<Window>(turns);
    const auto two = turns ? attention_window_kernel<Window, 2, true>
                           : attention_window_kernel<Window, 2, false>;
    const auto kernel = row_tiles == 1   ? one
                        : row_tiles == 2 ? two
                                         : attention_window_kernel<Window, 4, false>;
    launch(kernel, shape, stream, p);
  }

  static void prompt(const AttentionArgs& p, dim3 grid, cudaStream_t stream) {
    launch(attention_prompt_kernel<Prompt>, {grid, dim3(Prompt::kThreads), Prompt::kSharedBytes},
           stream, p);
  }

  static AttentionKernel kernel() {
    return {kK,
            kV,
            Decode::kSharedBytes,
            DeepDecode::kSharedBytes,
            Prompt::kSharedBytes,
            window_bytes,
            allow_shared,
            decode,
            window,
            prompt};
  }

 private:
  template <typename Tile>
  static auto one_tile(bool turns) {
    return turns ? attention_window_kernel<Tile, 1, true> : attention_window_kernel<Tile, 1, false>;
  }
  // Without the carve-out the device may keep room for one block where two fit.
  static void allow(void (*kernel)(AttentionArgs), int64_t bytes, int64_t bytes_max) {
    if (bytes > bytes_max) return;
    cuda::allow_shared(kernel, bytes);
    CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributePreferredSharedMemoryCarveout,
                                    cudaSharedmemCarveoutMaxShared));
  }
};

}  // namespace mimo::kernels::cuda
