#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/route/route_finish.cuh"
#include "kernels/cuda/route/route_kernels.h"
#include "kernels/device/cp_async.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"

namespace mimo::kernels::cuda::router {
namespace {

__device__ __forceinline__ float bf16_low(uint32_t two) { return __uint_as_float(two << 16); }
__device__ __forceinline__ float bf16_high(uint32_t two) {
  return __uint_as_float(two & 0xffff0000u);
}

// --- Few tokens: a block holds two experts' weights, a thread four columns of every 1024 ------
constexpr int32_t kFewSteps = 4;
constexpr int32_t kStepCols = kRouteThreads * 4;
constexpr int32_t kPassCols = kStepCols * kFewSteps;

// In shared memory, where they come in without holding anybody up; each thread reads its own.
using FewWeights = float4[kFewSteps][kFewExperts][kRouteThreads];
constexpr int64_t kWeightBytes = sizeof(FewWeights);

// Columns [begin, begin + kPassCols); zeros outside the weights.
__device__ __forceinline__ void load_weights(const RouteParams& p, int32_t begin,
                                             FewWeights& weights) {
#pragma unroll
  for (int32_t step = 0; step < kFewSteps; ++step) {
    const int32_t col = begin + step * kStepCols + static_cast<int32_t>(threadIdx.x) * 4;
#pragma unroll
    for (int32_t e = 0; e < kFewExperts; ++e) {
      const int32_t expert = static_cast<int32_t>(blockIdx.x) * kFewExperts + e;
      const bool inside = col < p.hidden && expert < p.num_experts;
      const float* const from = p.weight + (inside ? int64_t{expert} * p.hidden + col : 0);
      device::copy_async_16(device::shared_address(&weights[step][e][threadIdx.x]), from, inside);
    }
  }
  device::copy_async_commit();
}

// Of the first num_tokens tokens.
template <int kTokens>
__device__ __forceinline__ void add_products(const RouteParams& p, int32_t begin,
                                             const FewWeights& weights, int32_t num_tokens,
                                             float (&sums)[kTokens * kFewExperts]) {
  uint2 x[kFewSteps][kTokens];
#pragma unroll
  for (int32_t step = 0; step < kFewSteps; ++step) {
    const int32_t col = begin + step * kStepCols + static_cast<int32_t>(threadIdx.x) * 4;
#pragma unroll
    for (int32_t t = 0; t < kTokens; ++t) {
      const auto* const from = reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(p.x) +
                                                              int64_t{t} * p.hidden + col);
      x[step][t] = t < num_tokens && col < p.hidden ? *from : uint2{0, 0};
    }
  }
  if (num_tokens > 0) device::copy_async_wait<0>();
#pragma unroll
  for (int32_t step = 0; step < kFewSteps; ++step) {
#pragma unroll
    for (int32_t e = 0; e < kFewExperts; ++e) {
      const float4 w = weights[step][e][threadIdx.x];
#pragma unroll
      for (int32_t t = 0; t < kTokens; ++t) {
        float& sum = sums[t * kFewExperts + e];
        sum = fmaf(bf16_low(x[step][t].x), w.x, sum);
        sum = fmaf(bf16_high(x[step][t].x), w.y, sum);
        sum = fmaf(bf16_low(x[step][t].y), w.z, sum);
        sum = fmaf(bf16_high(x[step][t].y), w.w, sum);
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
__global__ void __launch_bounds__(kRouteThreads, 2)
    few_kernel(const __grid_constant__ RouteWork work) {
  constexpr int kCount = kTokens * kFewExperts;
  __shared__ float partial[kRouteWarps][kCount];
  extern __shared__ __align__(16) uint8_t memory[];
  FewWeights& weights = *reinterpret_cast<FewWeights*>(memory);
  const RouteParams& p = work.route;
  device::let_next_start();
  load_weights(p, 0, weights);
  start_finish(work, memory + kWeightBytes);
#pragma unroll 1
  for (int32_t round = work.first_round; round < 2; ++round) {
    const bool live = round == 1;
    if (live) device::wait_for_inputs();
    FirstRun run = find_run(work, live);
    const int32_t num_tokens = live ? p.num_tokens : 0;
    float sums[kCount] = {};
    add_products<kTokens>(p, 0, weights, num_tokens, sums);
    for (int32_t begin = kPassCols; live && begin < p.hidden; begin += kPassCols) {
      load_weights(p, begin, weights);
      add_products<kTokens>(p, begin, weights, num_tokens, sums);
    }
    find_context(work, live, run);
    const float sum = transposed_sum<kCount>(sums);
    const uint32_t lane = threadIdx.x % 32;
    if (lane % (32 / kCount) == 0) partial[threadIdx.x / 32][lane / (32 / kCount)] = sum;
    __syncthreads();
    if (threadIdx.x < kCount) {
      float total = 0;
#pragma unroll
      for (int32_t w = 0; w < kRouteWarps; ++w) total += partial[w][threadIdx.x];
      const auto token = static_cast<int32_t>(threadIdx.x) / kFewExperts;
      const auto expert =
          static_cast<int32_t>(blockIdx.x * kFewExperts + threadIdx.x % kFewExperts);
      if (token < num_tokens && expert < p.num_experts) {
        put(box_scores(work, token, 0, expert), score_word(total));
      }
    }
    finish<1>(work, run, memory + kWeightBytes, live);
    __syncthreads();
  }
}

}  // namespace

void prepare_few() {
  allow_shared(few_kernel<1>, kWeightBytes + kFinishSharedMax);
  allow_shared(few_kernel<kFewTokensMax>, kWeightBytes + kFinishSharedMax);
}

void launch_few(const RouteWork& work, cudaStream_t stream) {
  CHECK_EQ(work.cut.experts_a_block, kFewExperts);
  const LaunchShape shape{dim3(static_cast<uint32_t>(work.cut.num_blocks)), dim3(kRouteThreads),
                          kWeightBytes + finish_shared_bytes(work)};
  launch(work.cut.tokens_a_block == 1 ? few_kernel<1> : few_kernel<kFewTokensMax>, shape, stream,
         work);
}

}  // namespace mimo::kernels::cuda::router
