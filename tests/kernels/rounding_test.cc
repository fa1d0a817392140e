#include "kernels/cpu/rounding.h"

#include <gtest/gtest.h>

#include "kernels/philox.h"
#include "kernels/reference/reference.h"

namespace mimo::kernels {
namespace {

TEST(RoundE4m3, EqualsTheWayThroughTheBits) {
  // Every 257th float: all exponents, and mantissas on both sides of every tie.
  for (uint64_t bits = 0; bits <= 0xffffffffu; bits += 257) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(bits));
    const float want = e4m3_to_float(float_to_e4m3(x));
    const float out = round_e4m3(x);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(out));
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(out), std::bit_cast<uint32_t>(want)) << x;
    }
  }
}

TEST(RoundE4m3, TiesAndNeighboursOfEveryValue) {
  for (int code = 0; code < 0x7e; ++code) {
    const float low = e4m3_to_float(static_cast<uint8_t>(code));
    const float high = e4m3_to_float(static_cast<uint8_t>(code + 1));
    const float middle = (low + high) / 2;
    for (const float x :
         {low, std::nextafter(middle, 0.0f), middle, std::nextafter(middle, 1e9f), high}) {
      EXPECT_EQ(round_e4m3(x), reference::nearest_e4m3(x)) << x;
      EXPECT_EQ(round_e4m3(-x), reference::nearest_e4m3(-x)) << x;
    }
  }
}

TEST(Fp8Scale, CarriesTheLargestTo448) {
  EXPECT_EQ(fp8_scale(448.0f), 1.0f);
  EXPECT_EQ(fp8_scale(0.0f), 1.0f);
  EXPECT_EQ(fp8_scale(1e-40f), 1.0f);
  EXPECT_EQ(fp8_scale(44.8f), 44.8f / 448.0f);
}

// The known answers that come with the generator's publication.
TEST(Philox, KnownAnswers) {
  const std::array<uint32_t, 4> zeros{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
  EXPECT_EQ(philox4x32(0, 0), zeros);
}

TEST(Philox, UniformIsBelowOneAndDependsOnBoth) {
  double sum = 0;
  for (uint64_t counter = 0; counter < 10000; ++counter) {
    const double u = philox_uniform(7, counter);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);  // 3.5 standard deviations
  EXPECT_NE(philox_uniform(7, 1), philox_uniform(8, 1));
  EXPECT_NE(philox_uniform(uint64_t{7} << 32, 1), philox_uniform(0, 1));
  EXPECT_NE(philox_uniform(7, uint64_t{1} << 32), philox_uniform(7, 0));
}

}  // namespace
}  // namespace mimo::kernels
