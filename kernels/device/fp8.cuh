#pragma once

#include <cuda_fp8.h>

#include <cfloat>
#include <cstdint>

// The same roundings as kernels/cpu/rounding.h, bit for bit.
namespace mimo::kernels::device {

// Of a group of activations with this largest magnitude; 1 where it would not be a normal float.
__device__ __forceinline__ float fp8_scale(float magnitude_max) {
  const float scale = __fdiv_rn(magnitude_max, 448.0f);
  return scale < FLT_MIN ? 1.0f : scale;
}

// Four e4m3, the first in the lowest byte; to nearest even, saturating at 448.
__device__ __forceinline__ uint32_t pack_e4m3(float a, float b, float c, float d) {
  const uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
  const uint32_t high = __nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3);
  return low | high << 16;
}

// Eight values times `inverse`, as e4m3.
__device__ __forceinline__ uint2 scaled_e4m3(const float (&x)[8], float inverse) {
  float y[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) y[i] = __fmul_rn(x[i], inverse);
  return make_uint2(pack_e4m3(y[0], y[1], y[2], y[3]), pack_e4m3(y[4], y[5], y[6], y[7]));
}

}  // namespace mimo::kernels::device
