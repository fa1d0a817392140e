#include <ostream>

#include "kernels/cuda/product/resident.h"
#include "tests/kernels/cuda/product_support.h"

namespace mimo::kernels::cuda::test {
namespace {

using product::StreamOut;

constexpr double kFloats = 1e-4;
// wgmma keeps about 13 bits of its running sum of e4m3 products; it is added in float every 128
// columns.
constexpr double kE4m3Sums = 1e-3;
constexpr double kRounded = 3e-3;
constexpr int32_t kTokensMax = product::kSwapTokensMax;
constexpr int32_t kTokens[] = {1, 3, 8, 9, 16, 17, 31, 32, 33, 50, 64};

struct Case {
  DType dtype;
  int32_t rows;
  int32_t cols;
  int32_t rows_per_scale = 128;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << dtype_name(c.dtype) << " " << c.rows << " x " << c.cols;
}

// Both ways to compute a product on SM90, which share their tensor maps.
struct Streams {
  Streams()
      : context(make_context()),
        swap(product::SwapStream::create(*context).value()),
        resident(product::ResidentStream::create(*context, swap).value()) {}

  std::unique_ptr<DeviceContext> context;
  product::SwapStream swap;
  product::ResidentStream resident;
};

bool on_sm90() { return make_context()->capability() == 90; }

class Resident : public ::testing::TestWithParam<Case> {};

TEST_P(Resident, MatchesTheReferenceForEveryNumberOfTokens) {
  SKIP_WITHOUT_GPU();
  if (!on_sm90()) GTEST_SKIP() << "no SM90";
  const Case c = GetParam();
  const bool fp8 = c.dtype == DType::kF8E4m3;
  Streams streams;
  DeviceContext& context = *streams.context;
  const Weight weight = random_weight(c.dtype, c.rows, c.cols, 11, c.rows_per_scale);
  const DeviceMatrix w = device_weight(context, weight);
  const auto x = random_floats(int64_t{kTokensMax} * c.cols, 7, kDevice);
  const Rows rows = device_rows(context, x, c.cols, fp8);
  const Matrix want =
      reference::product(reference::matrix(x, kTokensMax, c.cols), weight.view(), kDevice);
  Matrix halves(kTokensMax, c.rows / 2);
  for (int64_t t = 0; t < kTokensMax; ++t) {
    for (int64_t i = 0; i < c.rows / 2; ++i) {
      const double gate = want.at(t, i);
      halves.at(t, i) = gate / (1.0 + std::exp(-gate)) * want.at(t, c.rows / 2 + i);
    }
  }
  for (const int32_t num_tokens : kTokens) {
    for (const StreamOut kind : {StreamOut::kF32, StreamOut::kBf16, StreamOut::kSiluMul}) {
      SCOPED_TRACE(::testing::Message()
                   << num_tokens << " tokens, output " << static_cast<int>(kind));
      const auto shape = streams.resident.choose(w, kind, nullptr, num_tokens);
      // A slice for 64 tokens is half as wide, and a cluster has four at most.
      const bool too_wide = num_tokens > 32 && c.cols * dtype_bytes(c.dtype) > 4096;
      ASSERT_EQ(shape.has_value(), !too_wide);
      if (too_wide) continue;
      const Matrix& all = kind == StreamOut::kSiluMul ? halves : want;
      const int64_t count = num_tokens * all.cols;
      float* const out = poisoned_array<float>(context, count + 1);
      streams.resident.run({.x = fp8 ? static_cast<const void*>(rows.q) : rows.values,
                            .x_scales = rows.q_scales,
                            .w = w,
                            .out_kind = kind,
                            .out = out,
                            .num_tokens = num_tokens},
                           *shape);
      if (kind == StreamOut::kF32) {
        const auto got = to_host(context, out, count + 1);
        EXPECT_TRUE(std::isnan(got.back()));
        EXPECT_BLOCKS_NEAR((std::vector<float>{got.begin(), got.end() - 1}), all, num_tokens,
                           fp8 ? kE4m3Sums : kFloats);
        continue;
      }
      const auto got = bf16_to_host(context, reinterpret_cast<uint16_t*>(out), count + 1);
      EXPECT_TRUE(std::isnan(got.back()));
      EXPECT_BLOCKS_NEAR((std::vector<float>{got.begin(), got.end() - 1}), all, num_tokens,
                         kRounded);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Resident,
    ::testing::Values(Case{DType::kF8E4m3, 272, 4096, 64}, Case{DType::kF8E4m3, 128, 2048},
                      Case{DType::kF8E4m3, 48, 4096, 8}, Case{DType::kBf16, 272, 2048},
                      Case{DType::kBf16, 144, 1024}, Case{DType::kBf16, 80, 4096}));

TEST(Resident, RefusesWhatDoesNotFit) {
  SKIP_WITHOUT_GPU();
  if (!on_sm90()) GTEST_SKIP() << "no SM90";
  Streams streams;
  const auto fits = [&](DType dtype, int32_t rows, int32_t cols, int32_t num_tokens) {
    const DeviceMatrix w = {.dtype = dtype, .rows = rows, .cols = cols, .ld = cols};
    return streams.resident.choose(w, StreamOut::kBf16, nullptr, num_tokens).has_value();
  };
  EXPECT_TRUE(fits(DType::kBf16, 1024, 2048, 1));
  EXPECT_FALSE(fits(DType::kBf16, 1024, 2048, 0));
  EXPECT_FALSE(fits(DType::kBf16, 1024, 2048, kTokensMax + 1));
  EXPECT_FALSE(fits(DType::kBf16, 38144, 2048, 1));
  EXPECT_FALSE(fits(DType::kBf16, 4096, 2048, 64));
  EXPECT_FALSE(fits(DType::kBf16, 1024, 1536, 1));
  EXPECT_FALSE(fits(DType::kF8E4m3, 1024, 2032, 1));
}

TEST(Resident, TheSameBitsEveryTime) {
  SKIP_WITHOUT_GPU();
  if (!on_sm90()) GTEST_SKIP() << "no SM90";
  Streams streams;
  DeviceContext& context = *streams.context;
  for (const DType dtype : {DType::kBf16, DType::kF8E4m3}) {
    const bool fp8 = dtype == DType::kF8E4m3;
    const int32_t cols = fp8 ? 4096 : 2048;
    const DeviceMatrix w = device_weight(context, quick_weight(dtype, 3392, cols, 31));
    const auto x = random_floats(int64_t{kTokensMax} * cols, 32, kDevice);
    const Rows rows = device_rows(context, x, cols, fp8);
    float* const out = poisoned_array<float>(context, int64_t{kTokensMax} * 3392);
    for (const int32_t num_tokens : {1, 13, 29, 64}) {
      SCOPED_TRACE(num_tokens);
      const auto shape = streams.resident.choose(w, StreamOut::kF32, nullptr, num_tokens);
      ASSERT_TRUE(shape.has_value());
      const auto run = [&] {
        streams.resident.run({.x = fp8 ? static_cast<const void*>(rows.q) : rows.values,
                              .x_scales = rows.q_scales,
                              .w = w,
                              .out_kind = StreamOut::kF32,
                              .out = out,
                              .num_tokens = num_tokens},
                             *shape);
      };
      run();
      const auto first = to_host(context, out, int64_t{num_tokens} * 3392);
      for (int i = 0; i < 100; ++i) {
        for (int repeat = 0; repeat < 10; ++repeat) run();
        ASSERT_TRUE(equal_bits(first, to_host(context, out, int64_t{num_tokens} * 3392)))
            << "launch " << 10 * i;
      }
    }
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
