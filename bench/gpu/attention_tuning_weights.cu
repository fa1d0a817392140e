#include "bench/gpu/attention_tuning_weights.h"

#include "kernels/cuda/launch.h"
#include "kernels/device/pdl.cuh"

namespace mimo::bench {
namespace {

constexpr int32_t kThreads = 512;
constexpr int32_t kSharedBytes = 220 * 1024;
constexpr int32_t kAhead = 8;

__global__ void __launch_bounds__(kThreads, 1)
    read_weights_kernel(const uint4* weights, int64_t count, uint32_t* out) {
  kernels::device::wait_for_inputs();
  kernels::device::let_next_start();
  const int64_t step = int64_t{gridDim.x} * kThreads;
  uint32_t sum = 0;
  for (int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x; at < count; at += kAhead * step) {
    uint4 x[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      x[j] = at + j * step < count ? __ldcs(weights + at + j * step) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) sum ^= x[j].x ^ x[j].y ^ x[j].z ^ x[j].w;
  }
  if (sum == 0x12345678u) *out = sum;
}

}  // namespace

void read_weights(const void* weights, int64_t bytes, uint32_t* out, int32_t num_sms,
                  cudaStream_t stream) {
  kernels::cuda::allow_shared(read_weights_kernel, kSharedBytes);
  kernels::cuda::launch(
      read_weights_kernel,
      {dim3(static_cast<unsigned>(num_sms)), dim3(static_cast<unsigned>(kThreads)), kSharedBytes},
      stream, static_cast<const uint4*>(weights), bytes / 16, out);
}

}  // namespace mimo::bench
