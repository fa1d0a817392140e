#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace mimo::kernels::device {

// Eight bf16 in one 16-byte access.
struct Bf16x8 {
  static constexpr int kSize = 8;

  static __device__ __forceinline__ Bf16x8 load(const void* at) {
    return {*static_cast<const uint4*>(at)};
  }
  static __device__ __forceinline__ Bf16x8 zeros() { return {make_uint4(0, 0, 0, 0)}; }
  // Each float to the nearest bf16, ties to even.
  static __device__ __forceinline__ Bf16x8 rounded(const float (&x)[kSize]) {
    Bf16x8 out;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const __nv_bfloat162 pair = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
      reinterpret_cast<uint32_t*>(&out.bits)[i] = reinterpret_cast<const uint32_t&>(pair);
    }
    return out;
  }

  __device__ __forceinline__ void store(void* at) const { *static_cast<uint4*>(at) = bits; }
  __device__ __forceinline__ void to_floats(float (&x)[kSize]) const {
    const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x[2 * i] = __uint_as_float(words[i] << 16);
      x[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
  }

  uint4 bits;
};

// Eight floats that nothing writes while the kernel runs, in two 16-byte accesses.
__device__ __forceinline__ void load_constant(const float* at, float (&x)[8]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float4 part = __ldg(reinterpret_cast<const float4*>(at) + i);
    x[4 * i] = part.x;
    x[4 * i + 1] = part.y;
    x[4 * i + 2] = part.z;
    x[4 * i + 3] = part.w;
  }
}

}  // namespace mimo::kernels::device
