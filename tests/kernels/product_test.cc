#include <numeric>

#include "kernels/cpu/rounding.h"
#include "kernels/cpu/simd.h"
#include "tests/kernels/support.h"

namespace mimo::kernels::test {
namespace {

struct LinearCase {
  DType dtype;
  int32_t tokens;
  int64_t rows;
  int64_t cols;
  int32_t rows_per_scale = 128;
};

class LinearOp : public ::testing::TestWithParam<LinearCase> {};

TEST_P(LinearOp, MatchesTheReferenceInBothModes) {
  const LinearCase c = GetParam();
  const Weight w = random_weight(c.dtype, c.rows, c.cols, 11, c.rows_per_scale);
  for (const CpuMode mode : kModes) {
    SCOPED_TRACE(mode_name(mode));
    auto ops = cpu_ops(mode);
    const Linear loaded = ops->load_linear(w.view()).value();
    const auto x = random_floats(c.tokens * c.cols, 12, mode);
    auto sums = poisoned(c.tokens * c.rows);
    auto out = poisoned(c.tokens * c.rows);

    ops->linear({x.data(), loaded, sums.data(), true, c.tokens});
    ops->linear({x.data(), loaded, out.data(), false, c.tokens});

    const auto want = reference::product(reference::matrix(x, c.tokens, c.cols), w.view(), mode);
    EXPECT_LT(relative_error(sums, want), 2e-6);  // float sums, in both modes
    EXPECT_LT(relative_error(out, reference::stored(want, mode)), tolerance(mode));
    if (mode == CpuMode::kDevice) {
      for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], round_bf16(sums[i]));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, LinearOp,
    ::testing::Values(LinearCase{DType::kBf16, 0, 16, 16}, LinearCase{DType::kBf16, 1, 1, 1},
                      LinearCase{DType::kBf16, 1, 97, 96}, LinearCase{DType::kF32, 3, 65, 127},
                      LinearCase{DType::kBf16, 5, 130, 129}, LinearCase{DType::kF32, 13, 15, 256},
                      LinearCase{DType::kBf16, 129, 64, 40}, LinearCase{DType::kBf16, 257, 33, 300},
                      LinearCase{DType::kF8E4m3, 1, 128, 128},
                      LinearCase{DType::kF8E4m3, 4, 200, 384, 64},
                      LinearCase{DType::kF8E4m3, 130, 70, 200, 7},
                      LinearCase{DType::kF8E4m3, 2, 1, 129, 1},
                      LinearCase{DType::kF8E4m3, 12, 48, 100, 1000}));

TEST(LinearOp, RefusesWhatDoesNotFit) {
  auto ops = cpu_ops(CpuMode::kF32);
  Weight w = random_weight(DType::kF8E4m3, 128, 256, 1);
  w.scales.pop_back();

  const auto few_scales = ops->load_linear(w.view());
  HostLinear cut = random_weight(DType::kBf16, 4, 4, 1).view();
  cut.bytes = {};
  const auto few_bytes = ops->load_linear(cut);

  ASSERT_FALSE(few_scales.ok());
  EXPECT_EQ(few_scales.error().message, "linear [128, 256] F8_E4M3: 1 scales, expected 2");
  ASSERT_FALSE(few_bytes.ok());
  EXPECT_EQ(few_bytes.error().code, Code::kInvalidArgument);
  EXPECT_EQ(ops->bytes_by_purpose()[static_cast<size_t>(Purpose::kWeights)], 0);
}

TEST(EmbedOp, GivesTheRowsHeldHereAndZeros) {
  const Weight table = random_weight(DType::kBf16, 37, 96, 3);
  for (const CpuMode mode : kModes) {
    auto ops = cpu_ops(mode);
    const Linear loaded = ops->load_linear(table.view()).value();
    const std::vector<int32_t> ids{100, 136, 99, 137, 0, 117};
    auto out = poisoned(6 * 96);

    ops->embed({ids.data(), nullptr, loaded, 100, out.data(), 6});

    const auto want = reference::weight(table.view());
    for (size_t t = 0; t < ids.size(); ++t) {
      const int32_t row = ids[t] - 100;
      for (int32_t c = 0; c < 96; ++c) {
        EXPECT_EQ(out[t * 96 + static_cast<size_t>(c)], row < 0 || row >= 37 ? 0 : want.at(row, c));
      }
    }
  }
}

TEST(GatherRowsOp, CopiesRows) {
  auto ops = cpu_ops(CpuMode::kF32);
  const auto in = random_floats(5 * 7, 1, CpuMode::kF32);
  const std::vector<int32_t> rows{4, 0, 4};
  auto out = poisoned(3 * 7);

  ops->gather_rows({in.data(), rows.data(), out.data(), 3, 7});

  for (size_t r = 0; r < 3; ++r) {
    for (size_t c = 0; c < 7; ++c) {
      EXPECT_EQ(out[r * 7 + c], in[static_cast<size_t>(rows[r]) * 7 + c]);
    }
  }
}

// Every instruction set gives the same bits, but for the plain one, which rounds each product.
TEST(Simd, SetsAgree) {
  constexpr int32_t kRows = 29;
  constexpr int32_t kPanels = 7;
  constexpr int32_t kCols = 77;
  const auto a = random_floats(kRows * kCols, 1, CpuMode::kF32);
  const auto b = random_floats(kPanels * kCols * kPanel, 2, CpuMode::kF32);
  std::vector<std::vector<float>> results;
  std::vector<std::vector<float>> dots;
  for (const Simd* set : simd_sets()) {
    results.push_back(poisoned(kRows * kPanels * kPanel));
    ProductBlock block;
    block.a = a.data();
    block.a_stride = kCols;
    block.b = b.data();
    block.b_stride = kCols * kPanel;
    block.c = results.back().data();
    block.c_stride = kPanels * kPanel;
    block.rows = kRows;
    block.panels = kPanels;
    block.depth = kCols;
    set->product(block);
    dots.push_back(poisoned(9));
    set->dots(a.data(), b.data(), 9, kCols, dots.back().data());
  }
  for (size_t s = 1; s < results.size(); ++s) {
    for (size_t i = 0; i < results[0].size(); ++i) {
      ASSERT_NEAR(results[s][i], results[0][i], 1e-4) << simd_sets()[s]->name;
    }
    for (size_t i = 0; i < dots[0].size(); ++i) ASSERT_NEAR(dots[s][i], dots[0][i], 1e-4);
  }
  for (size_t s = 2; s < results.size(); ++s) {
    EXPECT_EQ(results[s], results[1]);
    EXPECT_EQ(dots[s], dots[1]);
  }
}

TEST(Simd, ExpIsWithinTwoUnitsOfTheLastPlace) {
  std::vector<float> x;
  for (float value = -103.0f; value < 88.7f; value += 0.0137f) x.push_back(value);
  for (const Simd* set : simd_sets()) {
    auto out = poisoned(static_cast<int64_t>(x.size()));
    set->exps(x.data(), static_cast<int64_t>(x.size()), 0.0f, 1.0f, out.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const auto want = static_cast<float>(std::exp(double{x[i]}));
      const float unit = std::nextafter(want, kInfinity) - want;
      ASSERT_LE(std::fabs(out[i] - want), 2 * unit) << set->name << " exp " << x[i];
      float alone = kNan;
      set->exps(&x[i], 1, 0.0f, 1.0f, &alone);
      ASSERT_EQ(alone, out[i]) << set->name;
    }
    const std::vector<float> odd{-kInfinity, -200, 0, 100, kInfinity, kNan};
    auto ends = poisoned(6);
    set->exps(odd.data(), 6, 0.0f, 1.0f, ends.data());
    EXPECT_EQ(std::vector<float>(ends.begin(), ends.begin() + 5),
              (std::vector<float>{0, 0, 1, kInfinity, kInfinity}));
    EXPECT_TRUE(std::isnan(ends[5]));
  }
}

}  // namespace
}  // namespace mimo::kernels::test
