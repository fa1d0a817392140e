#pragma once

namespace mimo::kernels::device {

// Over groups of kLanes neighbouring lanes, in every lane of the group; all 32 lanes call. The
// partner of each addition is fixed, so equal inputs give equal bits.
template <int kLanes = 32>
__device__ __forceinline__ float lanes_sum(float x) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(~0u, x, offset);
  return x;
}
template <int kLanes = 32>
__device__ __forceinline__ float lanes_max(float x) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, offset));
  }
  return x;
}

// The sum over a block of whole warps, in every thread. scratch [32], in shared memory, free again
// after the next barrier.
__device__ __forceinline__ float block_sum(float x, float* scratch) {
  x = lanes_sum(x);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  return lanes_sum(lane < static_cast<int>(blockDim.x) / 32 ? scratch[lane] : 0.0f);
}

}  // namespace mimo::kernels::device
