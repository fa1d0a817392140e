#include <ostream>

#include "kernels/cuda/product/slab.h"
#include "tests/kernels/cuda/product_support.h"

namespace mimo::kernels::cuda::test {
namespace {

using product::SlabTile;
using product::StreamOut;

// wgmma keeps about 13 bits of its running sum of e4m3 products; it is added in float every 128
// columns, and the result is rounded to bf16.
constexpr double kRounded = 3e-3;
constexpr int32_t kTokensMax = product::kSlabTokensMax;

struct Case {
  SlabTile tile;
  int32_t rows;
  int32_t cols;
  int32_t rows_per_scale = 128;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.tile.token_tiles << " x " << c.tile.token_rows << " tokens, " << c.tile.k_split
             << " slices, " << c.rows << " x " << c.cols;
}

struct Streams {
  Streams()
      : context(make_context()),
        swap(product::SwapStream::create(*context).value()),
        slab(product::SlabStream::create(*context, swap).value()) {}

  std::unique_ptr<DeviceContext> context;
  product::SwapStream swap;
  product::SlabStream slab;
};

bool on_sm90() { return make_context()->capability() == 90; }

Matrix silu_mul(const Matrix& x) {
  Matrix out(x.rows, x.cols / 2);
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t i = 0; i < out.cols; ++i) {
      const double gate = x.at(t, i);
      out.at(t, i) = gate / (1.0 + std::exp(-gate)) * x.at(t, out.cols + i);
    }
  }
  return out;
}

class Slab : public ::testing::TestWithParam<Case> {};

TEST_P(Slab, MatchesTheReferenceForEveryNumberOfTokens) {
  SKIP_WITHOUT_GPU();
  if (!on_sm90()) GTEST_SKIP() << "no SM90";
  const Case c = GetParam();
  Streams streams;
  DeviceContext& context = *streams.context;
  const Weight weight = random_weight(DType::kF8E4m3, c.rows, c.cols, 11, c.rows_per_scale);
  const DeviceMatrix w = device_weight(context, weight);
  const auto x = random_floats(int64_t{kTokensMax} * c.cols, 7, kDevice);
  const Rows rows = device_rows(context, x, c.cols, true);
  const Matrix want =
      reference::product(reference::matrix(x, kTokensMax, c.cols), weight.view(), kDevice);
  const Matrix halves = silu_mul(want);
  const auto shape = product::slab_shape(c.tile, c.cols, context.shared_bytes_max());
  ASSERT_TRUE(shape.has_value());
  for (const int32_t num_tokens : {1, 50, 64, 65, 127, 128, 129, 192, 255, 256}) {
    if (num_tokens > c.tile.token_rows * c.tile.token_tiles) continue;
    for (const StreamOut kind : {StreamOut::kBf16, StreamOut::kSiluMul}) {
      SCOPED_TRACE(::testing::Message()
                   << num_tokens << " tokens, output " << static_cast<int>(kind));
      const Matrix& all = kind == StreamOut::kSiluMul ? halves : want;
      const int64_t count = num_tokens * all.cols;
      uint16_t* const out = poisoned_array<uint16_t>(context, count + 1);

      streams.slab.run({.x = rows.q,
                        .x_scales = rows.q_scales,
                        .w = w,
                        .out_kind = kind,
                        .out = out,
                        .num_tokens = num_tokens},
                       *shape);

      const auto got = bf16_to_host(context, out, count + 1);
      EXPECT_TRUE(std::isnan(got.back()));
      EXPECT_BLOCKS_NEAR((std::vector<float>{got.begin(), got.end() - 1}), all, num_tokens,
                         kRounded);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Slab,
                         ::testing::Values(Case{{64, 1, 2}, 320, 4096, 64},
                                           Case{{128, 1, 4}, 192, 4096, 64},
                                           Case{{128, 2, 2}, 320, 2048, 64},
                                           Case{{128, 1, 2}, 192, 2048},
                                           Case{{128, 2, 2}, 128, 4096}));

TEST(Slab, TheSameBitsEveryTime) {
  SKIP_WITHOUT_GPU();
  if (!on_sm90()) GTEST_SKIP() << "no SM90";
  Streams streams;
  DeviceContext& context = *streams.context;
  constexpr int32_t kRows = 3712;
  constexpr int32_t kCols = 4096;
  const DeviceMatrix w = device_weight(context, quick_weight(DType::kF8E4m3, kRows, kCols, 31));
  const auto x = random_floats(int64_t{kTokensMax} * kCols, 32, kDevice);
  const Rows rows = device_rows(context, x, kCols, true);
  uint16_t* const out = poisoned_array<uint16_t>(context, int64_t{kTokensMax} * kRows);
  for (const int32_t num_tokens : {40, 64, 65, 128, 129, 200, 256}) {
    SCOPED_TRACE(num_tokens);
    const auto shape = streams.slab.choose(w, StreamOut::kBf16, nullptr, num_tokens);
    ASSERT_TRUE(shape.has_value());
    const auto run = [&] {
      streams.slab.run({.x = rows.q,
                        .x_scales = rows.q_scales,
                        .w = w,
                        .out_kind = StreamOut::kBf16,
                        .out = out,
                        .num_tokens = num_tokens},
                       *shape);
    };
    run();
    const auto first = to_host(context, out, int64_t{num_tokens} * kRows);
    for (int i = 0; i < 50; ++i) {
      for (int repeat = 0; repeat < 10; ++repeat) run();
      ASSERT_TRUE(equal_bits(first, to_host(context, out, int64_t{num_tokens} * kRows)))
          << "launch " << 10 * i;
    }
  }
}

TEST(Slab, RefusesWhatDoesNotFit) {
  SKIP_WITHOUT_GPU();
  if (!on_sm90()) GTEST_SKIP() << "no SM90";
  Streams streams;
  const auto fits = [&](DType dtype, int32_t rows, int32_t cols, StreamOut kind,
                        int32_t num_tokens) {
    const DeviceMatrix w = {.dtype = dtype, .rows = rows, .cols = cols, .ld = cols};
    return streams.slab.choose(w, kind, nullptr, num_tokens).has_value();
  };
  EXPECT_TRUE(fits(DType::kF8E4m3, 1024, 4096, StreamOut::kBf16, 256));
  EXPECT_FALSE(fits(DType::kF8E4m3, 1024, 4096, StreamOut::kF32, 256));
  EXPECT_FALSE(fits(DType::kF8E4m3, 1024, 4096, StreamOut::kBf16, kTokensMax + 1));
  EXPECT_FALSE(fits(DType::kBf16, 1024, 2048, StreamOut::kBf16, 256));
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
