#pragma once

#include <cuda_fp8.h>

#include <cstdint>

#include "kernels/device/fp8.cuh"
#include "kernels/device/reduce.cuh"
#include "kernels/device/vec.cuh"

// Steps of Ops::add_norm(), for the kernel of that name and for those that do it on their way: the
// same roundings in the same order.
namespace mimo::kernels::device {

constexpr int kScaleGroup = 128;                            // columns that share an FP8 scale
constexpr int kScaleThreads = kScaleGroup / Bf16x8::kSize;  // 16
static_assert(32 % kScaleThreads == 0, "a group's largest value is found inside a warp");

// a + b, as it is stored.
__device__ __forceinline__ Bf16x8 added(const Bf16x8& a, const Bf16x8& b) {
  float x[Bf16x8::kSize];
  float y[Bf16x8::kSize];
  a.to_floats(x);
  b.to_floats(y);
#pragma unroll
  for (int i = 0; i < Bf16x8::kSize; ++i) x[i] = __fadd_rn(x[i], y[i]);
  return Bf16x8::rounded(x);
}

// `sum` and the squares of eight values.
__device__ __forceinline__ float add_squares(const Bf16x8& values, float sum) {
  float x[Bf16x8::kSize];
  values.to_floats(x);
#pragma unroll
  for (int i = 0; i < Bf16x8::kSize; ++i) sum = fmaf(x[i], x[i], sum);
  return sum;
}

// What a row is multiplied by whose squares have this sum.
__device__ __forceinline__ float norm_factor(float squares, int32_t hidden, float eps) {
  const float mean = __fdiv_rn(squares, static_cast<float>(hidden));
  return __frcp_rn(__fsqrt_rn(mean + eps));
}

__device__ __forceinline__ float normed(float x, float factor, float weight) {
  return __fmul_rn(__fmul_rn(x, factor), weight);
}
__device__ __forceinline__ Bf16x8 normed(const Bf16x8& values, float factor,
                                         const float (&weight)[Bf16x8::kSize]) {
  float x[Bf16x8::kSize];
  values.to_floats(x);
#pragma unroll
  for (int i = 0; i < Bf16x8::kSize; ++i) x[i] = normed(x[i], factor, weight[i]);
  return Bf16x8::rounded(x);
}

// A thread's eight columns as e4m3, and the scale of the group that sixteen threads have.
struct Quantised {
  uint2 q;
  float scale;
};
// All lanes of the warp call; those that have no columns hold zeros.
__device__ __forceinline__ Quantised quantised(const Bf16x8& values) {
  float x[Bf16x8::kSize];
  values.to_floats(x);
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < Bf16x8::kSize; ++i) largest = fmaxf(largest, fabsf(x[i]));
  const float scale = fp8_scale(lanes_max<kScaleThreads>(largest));
  return {scaled_e4m3(x, __frcp_rn(scale)), scale};
}

}  // namespace mimo::kernels::device
