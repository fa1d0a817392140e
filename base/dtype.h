#pragma once

#include <bit>
#include <cstdint>

#include "base/check.h"

namespace mimo {

enum class DType : uint8_t { kF32 = 0, kBf16 = 1, kF8E4m3 = 2, kI32 = 3, kI64 = 4 };

// Bytes of one element.
constexpr int64_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 4;
    case DType::kBf16:
      return 2;
    case DType::kF8E4m3:
      return 1;
    case DType::kI32:
      return 4;
    case DType::kI64:
      return 8;
  }
  return 0;
}

// "F32", "BF16", "F8_E4M3", "I32", "I64": safetensors' own spelling.
constexpr const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kBf16:
      return "BF16";
    case DType::kF8E4m3:
      return "F8_E4M3";
    case DType::kI32:
      return "I32";
    case DType::kI64:
      return "I64";
  }
  return "?";
}

inline float bf16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// Round to nearest, ties to even; NaN stays NaN.
inline uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// e4m3fn: no infinities, 0x7f and 0xff are NaN, largest finite 448.
float e4m3_to_float(uint8_t bits);

// Round to nearest, ties to even, saturating at 448 (as CUDA's __NV_SATFINITE); NaN stays NaN.
uint8_t float_to_e4m3(float value);

}  // namespace mimo
