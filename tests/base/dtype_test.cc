#include "base/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace mimo {
namespace {

// The format's definition: sign, four exponent bits with bias 7, three mantissa bits, no infinity.
double e4m3_by_definition(int code) {
  const int exponent = (code >> 3) & 15;
  const int mantissa = code & 7;
  const double sign = (code & 0x80) != 0 ? -1 : 1;
  if (exponent == 0) return sign * mantissa * std::pow(2.0, -9);
  return sign * (8 + mantissa) * std::pow(2.0, exponent - 10);
}

TEST(E4m3, EveryCodeHasItsValueAndComesBack) {
  for (int code = 0; code < 256; ++code) {
    const float value = e4m3_to_float(static_cast<uint8_t>(code));
    if ((code & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_EQ(float_to_e4m3(value) & 0x7f, 0x7f);
      continue;
    }
    EXPECT_EQ(value, e4m3_by_definition(code)) << code;
    EXPECT_EQ(float_to_e4m3(value), code);
  }
}

TEST(E4m3, HalfWayGoesToTheEvenCode) {
  for (int code = 0; code < 0x7e; ++code) {
    const float low = e4m3_to_float(static_cast<uint8_t>(code));
    const float high = e4m3_to_float(static_cast<uint8_t>(code + 1));
    const float middle = (low + high) / 2;
    EXPECT_EQ(float_to_e4m3(middle), code + code % 2) << code;
    EXPECT_EQ(float_to_e4m3(std::nextafter(middle, 0.0f)), code);
    EXPECT_EQ(float_to_e4m3(std::nextafter(middle, 1000.0f)), code + 1);
    EXPECT_EQ(float_to_e4m3(-middle), 0x80 | (code + code % 2));
  }
}

TEST(E4m3, SaturatesAndKeepsNan) {
  EXPECT_EQ(float_to_e4m3(449.0f), 0x7e);
  EXPECT_EQ(float_to_e4m3(1e30f), 0x7e);
  EXPECT_EQ(float_to_e4m3(-std::numeric_limits<float>::infinity()), 0xfe);
  EXPECT_EQ(float_to_e4m3(std::numeric_limits<float>::quiet_NaN()) & 0x7f, 0x7f);
  EXPECT_EQ(float_to_e4m3(1e-30f), 0);
  EXPECT_EQ(float_to_e4m3(-0.0f), 0x80);
}

TEST(Bf16, EveryValueComesBack) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = bf16_to_float(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(value))));
      continue;
    }
    EXPECT_EQ(float_to_bf16(value), bits);
  }
}

TEST(Bf16, RoundsToNearestAndHalfWayToEven) {
  for (uint32_t bits = 0; bits < 0x7f80; ++bits) {
    const uint32_t low = bits << 16;
    const auto at = [&](uint32_t offset) {
      return float_to_bf16(std::bit_cast<float>(low + offset));
    };
    ASSERT_EQ(at(0x7fff), bits);
    ASSERT_EQ(at(0x8000), bits + bits % 2);
    ASSERT_EQ(at(0x8001), bits + 1);  // from the largest finite value on: infinity
  }
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(DType, NamesAndSizes) {
  EXPECT_STREQ(dtype_name(DType::kF8E4m3), "F8_E4M3");
  EXPECT_EQ(dtype_bytes(DType::kF8E4m3), 1);
  EXPECT_EQ(dtype_bytes(DType::kBf16), 2);
  EXPECT_EQ(dtype_bytes(DType::kF32), 4);
  EXPECT_EQ(dtype_bytes(DType::kI64), 8);
}

}  // namespace
}  // namespace mimo
