#include "kernels/cuda/attention/attention_stream.cuh"

#include "kernels/cuda/attention/stream_kernel.h"
#include "kernels/cuda/launch.h"

namespace mimo::kernels::cuda {
namespace {

template <typename Tile>
void launch_stream(const AttentionArgs& p, const CUtensorMap& k_map, const CUtensorMap& v_map,
                   int32_t blocks, cudaStream_t stream) {
  launch(attention_stream_kernel<Tile>,
         {dim3(static_cast<unsigned>(blocks)), dim3(Tile::kBlockThreads), kStreamSharedBytes<Tile>},
         stream, p, k_map, v_map);
}

template <typename Tile>
StreamKernel kernel() {
  return {Tile::kK, Tile::kV, kStreamSharedBytes<Tile>,
          [] { allow_shared(attention_stream_kernel<Tile>, kStreamSharedBytes<Tile>); },
          launch_stream<Tile>};
}

}  // namespace

std::span<const StreamKernel> stream_kernels() {
  static const StreamKernel kernels[] = {kernel<StreamTile<64, 64, 8>>(),
                                         kernel<StreamTile<128, 128, 5>>(),
                                         kernel<StreamTile<192, 128, 4>>()};
  return kernels;
}

}  // namespace mimo::kernels::cuda
