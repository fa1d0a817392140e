#include "kernels/cuda/product/finish.h"

#include <cuda_bf16.h>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product/qkv_target.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/vec.cuh"

namespace mimo::kernels::cuda::product {
namespace {

using device::Bf16x8;

constexpr int32_t kQkvThreads = 256;
constexpr int32_t kCombineThreads = 128;
constexpr int32_t kBatch = 8;  // experts whose rows are loaded together

// --- Kernel: grid [T] ---------------------------------------------------------------------------

__global__ void __launch_bounds__(kQkvThreads)
    finish_qkv_kernel(const float* wide, const __grid_constant__ QkvTarget target) {
  __shared__ float cosines[kFrequenciesMax];
  __shared__ float sines[kFrequenciesMax];
  device::let_next_start();
  device::wait_for_inputs();
  const auto token = static_cast<int32_t>(blockIdx.x);
  const Place place = place_of(target, token);
  for (int32_t i = threadIdx.x; i < target.half; i += kQkvThreads) {
    sincosf(static_cast<float>(place.position) * target.frequencies[i], &sines[i], &cosines[i]);
  }
  __syncthreads();
  const int32_t rotated = (target.num_q_heads + target.kv_heads) * target.k_dim;
  const int32_t cols = rotated + target.kv_heads * target.v_dim;
  const float* const row = wide + int64_t{token} * cols;
  for (int32_t c = threadIdx.x; c < cols; c += kQkvThreads) {
    const int32_t d = c % target.k_dim;
    float value = row[c];
    if (c < rotated && d < target.half) {
      value = value * cosines[d] - row[c + target.half] * sines[d];
    } else if (c < rotated && d < 2 * target.half) {
      const int32_t i = d - target.half;
      value = value * cosines[i] + row[c - target.half] * sines[i];
    }
    put_away(target, place, token, c, value);
  }
}

// --- Kernel: grid [columns / (kCombineThreads * kWidth), T] -------------------------------------

// kWidth columns a thread: eight, or one where rows are no multiple of 16 bytes.
template <int kWidth>
__device__ __forceinline__ void load_columns(const __nv_bfloat16* from, float (&x)[kWidth]) {
  if constexpr (kWidth == Bf16x8::kSize) {
    Bf16x8::load(from).to_floats(x);
  } else {
    x[0] = __bfloat162float(*from);
  }
}

// The rows and weights of a token's experts `begin` and up.
struct Chosen {
  int32_t rows[kBatch];
  float factors[kBatch];
};
__device__ __forceinline__ Chosen load_chosen(const CombineParams& p, int32_t token,
                                              int32_t begin) {
  const int64_t at = int64_t{token} * p.experts_per_token + begin;
  Chosen out;
#pragma unroll
  for (int i = 0; i < kBatch; ++i) {
    const bool there = begin + i < p.experts_per_token;
    out.rows[i] = there ? __ldcg(p.row_of + at + i) : -1;
    out.factors[i] = there ? __ldcg(p.weights + at + i) : 0.0f;
  }
  return out;
}

template <int kWidth>
__global__ void __launch_bounds__(kCombineThreads)
    combine_kernel(const __grid_constant__ CombineParams p) {
  device::let_next_start();
  const auto token = static_cast<int32_t>(blockIdx.y);
  Chosen chosen = load_chosen(p, token, 0);
  device::wait_for_inputs();
  const auto col = static_cast<int32_t>(blockIdx.x * kCombineThreads + threadIdx.x) * kWidth;
  if (col >= p.hidden) return;
  const auto* const y = static_cast<const __nv_bfloat16*>(p.y) + col;
  float sums[kWidth] = {};
  for (int32_t begin = 0; begin < p.experts_per_token; begin += kBatch) {
    if (begin > 0) chosen = load_chosen(p, token, begin);
    float x[kBatch][kWidth] = {};
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (chosen.rows[i] < 0) continue;
      load_columns<kWidth>(y + int64_t{chosen.rows[i]} * p.hidden, x[i]);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const float factor = chosen.rows[i] < 0 ? 0.0f : chosen.factors[i];
#pragma unroll
      for (int c = 0; c < kWidth; ++c) sums[c] += factor * x[i][c];
    }
  }
  auto* const out = static_cast<__nv_bfloat16*>(p.out) + int64_t{token} * p.hidden + col;
  if constexpr (kWidth == Bf16x8::kSize) {
    Bf16x8::rounded(sums).store(out);
  } else {
    *out = __float2bfloat16(sums[0]);
  }
}

template <int kWidth>
void launch_combine(const CombineParams& p, cudaStream_t stream) {
  constexpr int32_t kStep = kCombineThreads * kWidth;
  launch(combine_kernel<kWidth>,
         {.grid = dim3(static_cast<uint32_t>((p.hidden + kStep - 1) / kStep),
                       static_cast<uint32_t>(p.num_tokens)),
          .block = dim3(kCombineThreads)},
         stream, p);
}

}  // namespace

void finish_qkv(const float* wide, int32_t num_tokens, const QkvTarget& target,
                cudaStream_t stream) {
  launch(finish_qkv_kernel,
         {.grid = dim3(static_cast<uint32_t>(num_tokens)), .block = dim3(kQkvThreads)}, stream,
         wide, target);
}

void combine(const CombineParams& p, cudaStream_t stream) {
  CHECK_LE(p.num_tokens, 65535);
  if (p.hidden % Bf16x8::kSize == 0) return launch_combine<Bf16x8::kSize>(p, stream);
  launch_combine<1>(p, stream);
}

}  // namespace mimo::kernels::cuda::product
