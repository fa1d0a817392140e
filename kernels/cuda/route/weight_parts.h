#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define MIMO_HOST_DEVICE_INLINE __host__ __device__ __forceinline__
#else
#define MIMO_HOST_DEVICE_INLINE inline
#endif

// A float's 24 significant bits are three times the eight of a bf16: cut off in three steps, the
// parts add up to the float exactly, and a part's product with a bf16 is exact in a float. Nothing
// is lost above bf16's least subnormal, 2^-133; infinity has no parts (they are infinity and NaN).
namespace mimo::kernels::cuda::router {

constexpr int kWeightParts = 3;

MIMO_HOST_DEVICE_INLINE uint32_t float_bits(float x) {
  uint32_t bits = 0;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}

// The upper half of its bits is a bf16; never greater in magnitude.
MIMO_HOST_DEVICE_INLINE float cut_to_bf16(float x) {
  const uint32_t bits = float_bits(x) & 0xffff0000u;
  float out = 0;
  memcpy(&out, &bits, sizeof(out));
  return out;
}

// Two bf16, that of `low` in the lower half; what lies below them is cut off.
MIMO_HOST_DEVICE_INLINE uint32_t pack_cut(float low, float high) {
#ifdef __CUDA_ARCH__
  return __byte_perm(float_bits(low), float_bits(high), 0x7632);
#else
  return float_bits(low) >> 16 | (float_bits(high) & 0xffff0000u);
#endif
}

// parts[i]: the i-th parts of both, the greatest first.
MIMO_HOST_DEVICE_INLINE void split_pair(float low, float high, uint32_t (&parts)[kWeightParts]) {
  parts[0] = pack_cut(low, high);
  const float low_rest = low - cut_to_bf16(low);
  const float high_rest = high - cut_to_bf16(high);
  parts[1] = pack_cut(low_rest, high_rest);
  parts[2] = pack_cut(low_rest - cut_to_bf16(low_rest), high_rest - cut_to_bf16(high_rest));
}

}  // namespace mimo::kernels::cuda::router
