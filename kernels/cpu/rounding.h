#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/dtype.h"

namespace mimo::kernels {

inline float round_bf16(float x) { return bf16_to_float(float_to_bf16(x)); }

// The e4m3 value nearest to x (ties to even, saturating at 448), as a float; equal to
// e4m3_to_float(float_to_e4m3(x)), without the detour through its bits.
inline float round_e4m3(float x) {
  const float magnitude = std::fabs(x);
  if (!(magnitude < 448.0f)) return std::isnan(x) ? x : std::copysign(448.0f, x);
  if (magnitude < 0x1p-6f) {
    constexpr float kShift = 0x1.8p14f;  // a float here has steps of 2^-9, the smallest e4m3
    return std::copysign((magnitude + kShift) - kShift, x);
  }
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = (bits + 0x7ffffu + ((bits >> 20) & 1u)) & ~0xfffffu;
  return std::copysign(std::bit_cast<float>(rounded), x);
}

// The scale of a group of activations with this largest magnitude. A group too small for a normal
// scale, zeros too, has the scale 1 and becomes zeros. Values are multiplied by 1 / scale, then
// rounded to e4m3.
inline float fp8_scale(float magnitude_max) {
  const float scale = magnitude_max / 448.0f;
  return scale < std::numeric_limits<float>::min() ? 1.0f : scale;
}

}  // namespace mimo::kernels
