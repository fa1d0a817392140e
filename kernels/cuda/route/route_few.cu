#include "kernels/cuda/launch.h"
#include "kernels/cuda/route/route_finish.cuh"
#include "kernels/cuda/route/route_kernels.h"
#include "kernels/device/pdl.cuh"

namespace mimo::kernels::cuda::router {
namespace {

__device__ __forceinline__ float bf16_low(uint32_t two) { return __uint_as_float(two << 16); }
__device__ __forceinline__ float bf16_high(uint32_t two) {
  return __uint_as_float(two & 0xffff0000u);
}

// --- Few tokens: a block holds two experts' weights, a thread four columns of every 1024 ------
constexpr int32_t kFewExperts = 2;
constexpr int32_t kFewSteps = 4;
constexpr int32_t kStepCols = kRouteThreads * 4;
constexpr int32_t kPassCols = kStepCols * kFewSteps;

struct FewWeights {
  float4 w[kFewSteps][kFewExperts];
};

// Columns [begin, begin + kPassCols); zeros outside the weights.
__device__ __forceinline__ FewWeights load_weights(const RouteParams& p, int32_t begin) {
  FewWeights out;
#pragma unroll
  for (int32_t step = 0; step < kFewSteps; ++step) {
    const int32_t col = begin + step * kStepCols + static_cast<int32_t>(threadIdx.x) * 4;
#pragma unroll
    for (int32_t e = 0; e < kFewExperts; ++e) {
      const int32_t expert = static_cast<int32_t>(blockIdx.x) * kFewExperts + e;
      const bool inside = col < p.hidden && expert < p.num_experts;
      const auto* const from =
          reinterpret_cast<const float4*>(p.weight + int64_t{expert} * p.hidden + col);
      out.w[step][e] = inside ? __ldg(from) : float4{0, 0, 0, 0};
    }
  }
  return out;
}

template <int kTokens>
__device__ __forceinline__ void add_products(const RouteParams& p, int32_t begin,
                                             const FewWeights& weights,
                                             float (&sums)[kTokens * kFewExperts]) {
#pragma unroll
  for (int32_t step = 0; step < kFewSteps; ++step) {
    const int32_t col = begin + step * kStepCols + static_cast<int32_t>(threadIdx.x) * 4;
    if (col >= p.hidden) continue;
#pragma unroll
    for (int32_t t = 0; t < kTokens; ++t) {
      if (t >= p.num_tokens) continue;
      const uint2 x = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(p.x) +
                                                      int64_t{t} * p.hidden + col);
#pragma unroll
      for (int32_t e = 0; e < kFewExperts; ++e) {
        const float4& w = weights.w[step][e];
        float& sum = sums[t * kFewExperts + e];
        sum = fmaf(bf16_low(x.x), w.x, sum);
        sum = fmaf(bf16_high(x.x), w.y, sum);
        sum = fmaf(bf16_low(x.y), w.z, sum);
        sum = fmaf(bf16_high(x.y), w.w, sum);
      }
    }
  }
}

// Sums each of kCount values over the warp; value i ends in the lanes with lane * kCount / 32 == i.
template <int kCount>
__device__ __forceinline__ float transposed_sum(float (&values)[kCount]) {
  const uint32_t lane = threadIdx.x % 32;
  int32_t num = kCount;
#pragma unroll
  for (int32_t offset = 16; offset > 0; offset /= 2) {
    const bool upper = (lane & static_cast<uint32_t>(offset)) != 0;
    if (num == 1) {
      values[0] += __shfl_xor_sync(~0u, values[0], offset);
      continue;
    }
    num /= 2;
#pragma unroll
    for (int32_t i = 0; i < kCount / 2; ++i) {
      if (i >= num) continue;
      const float sent = upper ? values[i] : values[i + num];
      const float kept = upper ? values[i + num] : values[i];
      values[i] = kept + __shfl_xor_sync(~0u, sent, offset);
    }
  }
  return values[0];
}

// Grid [ceil(E / kFewExperts)]. Weights come in before the inputs are there.
template <int kTokens>
__global__ void __launch_bounds__(kRouteThreads)
    few_kernel(const __grid_constant__ RouteWork work) {
  constexpr int kCount = kTokens * kFewExperts;
  __shared__ float partial[kRouteWarps][kCount];
  extern __shared__ __align__(16) uint8_t shared[];
  const RouteParams& p = work.route;
  device::let_next_start();
  FewWeights weights = load_weights(p, 0);
  device::wait_for_inputs();

  float sums[kCount] = {};
  add_products<kTokens>(p, 0, weights, sums);
  for (int32_t begin = kPassCols; begin < p.hidden; begin += kPassCols) {
    weights = load_weights(p, begin);
    add_products<kTokens>(p, begin, weights, sums);
  }
  const float sum = transposed_sum<kCount>(sums);
  const uint32_t lane = threadIdx.x % 32;
  if (lane % (32 / kCount) == 0) partial[threadIdx.x / 32][lane / (32 / kCount)] = sum;
  __syncthreads();
  if (threadIdx.x < kCount) {
    float total = 0;
    for (int32_t w = 0; w < kRouteWarps; ++w) total += partial[w][threadIdx.x];
    const auto token = static_cast<int32_t>(threadIdx.x) / kFewExperts;
    const auto expert = static_cast<int32_t>(blockIdx.x * kFewExperts + threadIdx.x % kFewExperts);
    if (token < p.num_tokens && expert < p.num_experts) {
      put_score(work, token, expert, total);
    }
  }
  if (blockIdx.x == gridDim.x - 1) finish_group(work, 0, p.num_tokens, shared);
}

}  // namespace

void prepare_few() {
  allow_shared(few_kernel<1>, kFinishSharedMax);
  allow_shared(few_kernel<kFewTokensMax>, kFinishSharedMax);
}

void launch_few(const RouteWork& work, cudaStream_t stream) {
  const RouteParams& p = work.route;
  const LaunchShape shape{dim3((p.num_experts + kFewExperts - 1) / kFewExperts),
                          dim3(kRouteThreads), finish_shared_bytes(p.num_experts, p.num_groups)};
  launch(p.num_tokens == 1 ? few_kernel<1> : few_kernel<kFewTokensMax>, shape, stream, work);
}

}  // namespace mimo::kernels::cuda::router
