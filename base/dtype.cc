#include "base/dtype.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace mimo {
namespace {

constexpr float kE4m3Max = 448.0f;

float decode_e4m3(uint8_t bits) {
  const int exponent = (bits >> 3) & 0xf;
  const int mantissa = bits & 0x7;
  if (exponent == 0xf && mantissa == 0x7) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude =
      exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                    : std::ldexp(1.0f + static_cast<float>(mantissa) / 8.0f, exponent - 7);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

}  // namespace

float e4m3_to_float(uint8_t bits) {
  static const std::array<float, 256> kTable = [] {
    std::array<float, 256> table{};
    for (int i = 0; i < 256; ++i) table[i] = decode_e4m3(static_cast<uint8_t>(i));
    return table;
  }();
  return kTable[bits];
}

uint8_t float_to_e4m3(float value) {
  const uint8_t sign = std::signbit(value) ? 0x80 : 0x00;
  if (std::isnan(value)) return sign | 0x7f;
  const float magnitude = std::fabs(value);
  if (magnitude >= kE4m3Max) return sign | 0x7e;
  int exponent = 0;
  std::frexp(magnitude, &exponent);             // magnitude = f * 2^exponent, f in [0.5, 1)
  const int unit = std::max(exponent - 1, -6);  // subnormals share the exponent -6
  const float steps = std::nearbyint(std::ldexp(magnitude, 3 - unit));  // ties to even
  const int count = static_cast<int>(steps);                            // 0..16
  if (count == 0) return sign;
  if (unit == -6 && count < 8) return static_cast<uint8_t>(sign | count);
  const int carry = count == 16 ? 1 : 0;
  const int mantissa = carry != 0 ? 0 : count - 8;
  return static_cast<uint8_t>(sign | ((unit + carry + 7) << 3) | mantissa);
}

}  // namespace mimo
