#include <ostream>

#include "kernels/cuda/product/stream_plan.h"
#include "tests/kernels/cuda/product_support.h"

namespace mimo::kernels::cuda::test {
namespace {

// One bf16 rounding takes up to 2^-9 of each value.
constexpr double kRounded = 3e-3;
constexpr double kFloats = 1e-4;
// wgmma keeps about 13 bits of its running sum of e4m3 products; it is added in float every 128
// columns. On SM90 most products go that way.
constexpr double kE4m3Tiles = 1e-3;
// With an intermediate whose e4m3 may fall on the other side of a step (2^-4 of one column).
constexpr double kIntermediate = 1.5e-2;

struct Shape {
  DType dtype;
  int32_t rows;
  int32_t cols;
  int32_t rows_per_scale = 128;
};
std::ostream& operator<<(std::ostream& out, const Shape& s) {
  return out << dtype_name(s.dtype) << " " << s.rows << " x " << s.cols << ", " << s.rows_per_scale
             << " rows a scale";
}

double float_bound(const Shape& s, int32_t num_tokens, const DeviceContext& context) {
  if (s.dtype != DType::kF8E4m3) return kFloats;
  const bool streamed =
      product::choose_dense(s.dtype, s.cols, num_tokens, context.shared_bytes_max()).has_value();
  return streamed && context.capability() != 90 ? kFloats : kE4m3Tiles;
}

// out of linear() as floats, poisoned before.
std::vector<float> run_linear(DeviceContext& context, ProductOps& ops, const void* x, Linear w,
                              int32_t rows, int32_t num_tokens, bool f32) {
  const int64_t size = int64_t{num_tokens} * rows;
  float* const out = poisoned_array<float>(context, size + 1);
  ops.linear({.x = x, .w = w, .out = out, .out_f32 = f32, .num_tokens = num_tokens});
  return f32 ? to_host(context, out, size) : bf16_to_host(context, out, size);
}

class SmallLinear : public ::testing::TestWithParam<Shape> {};

TEST_P(SmallLinear, MatchesTheReferenceAtEveryCount) {
  SKIP_WITHOUT_GPU();
  const Shape s = GetParam();
  auto context = make_context();
  auto ops = product_ops(*context);
  const Weight weight = random_weight(s.dtype, s.rows, s.cols, 5, s.rows_per_scale);
  const Linear w = context->add_matrix(device_weight(*context, weight));
  const auto x = random_floats(int64_t{kManyTokens} * s.cols, 7, kDevice);
  const uint16_t* const d_x = device_bf16(*context, x);
  const Matrix want =
      reference::product(reference::matrix(x, kManyTokens, s.cols), weight.view(), kDevice);

  for (const int32_t num_tokens : kTokenCounts) {
    SCOPED_TRACE(num_tokens);
    const auto rounded = run_linear(*context, *ops, d_x, w, s.rows, num_tokens, false);
    EXPECT_BLOCKS_NEAR(rounded, want, num_tokens, kRounded);
    const auto floats = run_linear(*context, *ops, d_x, w, s.rows, num_tokens, true);
    EXPECT_BLOCKS_NEAR(floats, want, num_tokens, float_bound(s, num_tokens, *context));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, SmallLinear,
    ::testing::Values(Shape{DType::kBf16, 211, 24}, Shape{DType::kBf16, 96, 48},
                      Shape{DType::kBf16, 211, 96}, Shape{DType::kBf16, 64, 160},
                      Shape{DType::kBf16, 17, 480}, Shape{DType::kBf16, 3, 1030},
                      Shape{DType::kF8E4m3, 211, 24}, Shape{DType::kF8E4m3, 96, 48, 32},
                      Shape{DType::kF8E4m3, 211, 96, 16}, Shape{DType::kF8E4m3, 320, 160, 64},
                      Shape{DType::kF8E4m3, 48, 480, 8}, Shape{DType::kF8E4m3, 200, 1000, 64},
                      Shape{DType::kF8E4m3, 300, 1031, 128},
                      Shape{DType::kF8E4m3, 384, 2048, 128}));

class RealLinear : public ::testing::TestWithParam<Shape> {};

// Some rows of each scale's block, the first and the last among them.
std::vector<int32_t> sampled_rows(int32_t rows) {
  std::vector<int32_t> out;
  for (int32_t r = 0; r<rows; r += rows> 10000 ? 811 : 61) out.push_back(r);
  out.push_back(rows - 1);
  return out;
}

TEST_P(RealLinear, MatchesSampledRowsOfTheReference) {
  SKIP_WITHOUT_GPU();
  const Shape s = GetParam();
  auto context = make_context();
  auto ops = product_ops(*context);
  const Weight weight = quick_weight(s.dtype, s.rows, s.cols, 11, s.rows_per_scale);
  const Linear w = context->add_matrix(device_weight(*context, weight));
  const auto x = random_floats(int64_t{kManyTokens} * s.cols, 13, kDevice);
  const uint16_t* const d_x = device_bf16(*context, x);
  const std::vector<int32_t> rows = sampled_rows(s.rows);
  const Weight sample = some_rows(weight, rows);
  const Matrix want =
      reference::product(reference::matrix(x, kManyTokens, s.cols), sample.view(), kDevice);

  for (const int32_t num_tokens : {1, 8, 13, 16, 31, 48, 64, 129}) {
    SCOPED_TRACE(num_tokens);
    const auto all = run_linear(*context, *ops, d_x, w, s.rows, num_tokens, true);
    ASSERT_EQ(std::count_if(all.begin(), all.end(), [](float v) { return std::isnan(v); }), 0);
    std::vector<float> out;
    for (int32_t t = 0; t < num_tokens; ++t) {
      for (const int32_t r : rows) out.push_back(all[static_cast<size_t>(t) * s.rows + r]);
    }
    EXPECT_BLOCKS_NEAR(out, want, num_tokens, float_bound(s, num_tokens, *context));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, RealLinear,
                         ::testing::Values(Shape{DType::kF8E4m3, 3712, 4096},
                                           Shape{DType::kF8E4m3, 3392, 4096, 64},
                                           Shape{DType::kBf16, 4096, 2048},
                                           Shape{DType::kBf16, 38144, 4096},
                                           Shape{DType::kF8E4m3, 4096, 4096}));

// Weights of one; token j has ones in column block j alone. So out[j, r] is 128 times the scale of
// block (r / rows_per_scale, j), and all scales differ.
TEST(Linear, EveryBlockHasItsOwnScale) {
  SKIP_WITHOUT_GPU();
  constexpr int32_t kRows = 656;
  constexpr int32_t kBlocks = 33;
  for (const int32_t rows_per_scale : {8, 32, 64, 128}) {
    SCOPED_TRACE(rows_per_scale);
    auto context = make_context();
    auto ops = product_ops(*context);
    const int32_t cols = kBlocks * 128;
    Weight weight{DType::kF8E4m3, kRows, cols, rows_per_scale, {}, {}};
    weight.bytes.assign(static_cast<size_t>(kRows) * cols, float_to_e4m3(1.0f));
    const int32_t scale_rows = (kRows + rows_per_scale - 1) / rows_per_scale;
    for (int32_t i = 0; i < scale_rows * kBlocks; ++i) {
      weight.scales.push_back(1.0f + 0.01f * static_cast<float>(i));
    }
    const Linear w = context->add_matrix(device_weight(*context, weight));
    std::vector<float> x(static_cast<size_t>(kBlocks) * cols, 0.0f);
    for (int32_t j = 0; j < kBlocks; ++j) {
      std::fill_n(x.begin() + int64_t{j} * cols + j * 128, 128, 1.0f);
    }

    const auto out = run_linear(*context, *ops, device_bf16(*context, x), w, kRows, kBlocks, true);

    for (int32_t j = 0; j < kBlocks; ++j) {
      for (int32_t r = 0; r < kRows; ++r) {
        const float want =
            128.0f * weight.scales[static_cast<size_t>(r / rows_per_scale * kBlocks + j)];
        ASSERT_NEAR(out[static_cast<size_t>(j) * kRows + r], want, 1e-5f * want)
            << "row " << r << ", block " << j;
      }
    }
  }
}

TEST(Linear, AQuietTokenBesideALoudOneKeepsItsPrecision) {
  SKIP_WITHOUT_GPU();
  auto context = make_context();
  auto ops = product_ops(*context);
  const Weight weight = random_weight(DType::kF8E4m3, 128, 512, 3);
  const Linear w = context->add_matrix(device_weight(*context, weight));
  auto x = random_floats(4 * 512, 4, kDevice);
  for (size_t i = 0; i < 512; ++i) x[i] *= 0x1p-20f;
  std::fill_n(x.begin() + 512, 512, 0.0f);
  for (size_t i = 1024; i < 1536; ++i) x[i] *= 0x1p20f;
  const Matrix want = reference::product(reference::matrix(x, 4, 512), weight.view(), kDevice);

  const auto out = run_linear(*context, *ops, device_bf16(*context, x), w, 128, 4, true);

  for (int64_t t = 0; t < 4; ++t) {
    SCOPED_TRACE(t);
    Matrix row(1, 128);
    std::copy_n(want.data.begin() + t * 128, 128, row.data.begin());
    const double bound = float_bound({DType::kF8E4m3, 128, 512}, 4, *context);
    EXPECT_BLOCKS_NEAR(std::span(out).subspan(static_cast<size_t>(t) * 128, 128), row, 1, bound);
  }
}

struct FfnShape {
  DType dtype;
  int32_t hidden;
  int32_t columns;
};

class DenseFfn : public ::testing::TestWithParam<FfnShape> {};

TEST_P(DenseFfn, MatchesTheReferenceAtEveryCount) {
  SKIP_WITHOUT_GPU();
  const auto [dtype, hidden, columns] = GetParam();
  auto context = make_context();
  auto ops = product_ops(*context);
  const Weight gate_up = random_weight(dtype, 2 * columns, hidden, 21);
  const Weight down = random_weight(dtype, hidden, columns, 22);
  const Linear d_gate_up = context->add_matrix(device_weight(*context, gate_up));
  const Linear d_down = context->add_matrix(device_weight(*context, down));
  const auto x = random_floats(int64_t{kManyTokens} * hidden, 23, kDevice);
  const Matrix want = reference::ffn(reference::matrix(x, kManyTokens, hidden), gate_up.view(),
                                     down.view(), kDevice);

  for (const bool with_q : {false, dtype == DType::kF8E4m3}) {
    const Rows rows = device_rows(*context, x, hidden, with_q);
    for (const int32_t num_tokens : kTokenCounts) {
      SCOPED_TRACE(num_tokens);
      uint16_t* const out = poisoned_array<uint16_t>(*context, num_tokens * hidden + 1);
      ops->dense_ffn(
          {.x = rows, .gate_up = d_gate_up, .down = d_down, .out = out, .num_tokens = num_tokens});
      const auto got = bf16_to_host(*context, out, num_tokens * hidden);
      EXPECT_BLOCKS_NEAR(got, want, num_tokens, kIntermediate);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, DenseFfn,
    ::testing::Values(FfnShape{DType::kBf16, 64, 24}, FfnShape{DType::kBf16, 96, 160},
                      FfnShape{DType::kF8E4m3, 64, 24}, FfnShape{DType::kF8E4m3, 160, 48},
                      FfnShape{DType::kF8E4m3, 256, 480}, FfnShape{DType::kF8E4m3, 480, 256}));

TEST(Linear, GivesTheSameBitsEveryTime) {
  SKIP_WITHOUT_GPU();
  auto context = make_context();
  auto ops = product_ops(*context);
  for (const DType dtype : {DType::kBf16, DType::kF8E4m3}) {
    const Weight weight = quick_weight(dtype, 1040, 4096, 31);
    const Linear w = context->add_matrix(device_weight(*context, weight));
    const auto x = random_floats(int64_t{33} * 4096, 32, kDevice);
    const uint16_t* const d_x = device_bf16(*context, x);
    for (const int32_t num_tokens : {1, 16, 33}) {
      SCOPED_TRACE(num_tokens);
      const auto first = run_linear(*context, *ops, d_x, w, 1040, num_tokens, true);
      for (int i = 0; i < 1000; ++i) {
        const auto again = run_linear(*context, *ops, d_x, w, 1040, num_tokens, true);
        ASSERT_TRUE(equal_bits(first, again)) << "launch " << i;
      }
    }
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
