#include <numeric>

#include "tests/kernels/support.h"

namespace mimo::kernels::test {
namespace {

TEST(AddNormOp, MatchesTheReferenceInBothModes) {
  for (const CpuMode mode : kModes) {
    for (const int32_t hidden : {1, 15, 96, 128, 130, 4096}) {
      for (const int32_t tokens : {0, 1, 5}) {
        SCOPED_TRACE(mode_name(mode) + " " + std::to_string(hidden));
        auto ops = cpu_ops(mode);
        auto residual = random_floats(tokens * hidden, 1, mode);
        const auto delta = random_floats(tokens * hidden, 2, mode);
        const auto weight = random_floats(hidden, 3, CpuMode::kF32);
        const auto before = reference::matrix(residual, tokens, hidden);
        const auto added = reference::matrix(delta, tokens, hidden);
        auto out = poisoned(tokens * hidden);

        ops->add_norm({residual.data(),
                       delta.data(),
                       weight.data(),
                       {out.data(), nullptr, nullptr, hidden},
                       1e-5f,
                       tokens});

        const auto want = reference::add_norm(before, &added, weight, 1e-5, mode);
        if (mode == CpuMode::kDevice) {
          // A float sum of two bf16 numbers, rounded to bf16, is the exact sum rounded.
          EXPECT_EQ(max_difference(residual, want.residual), 0);
        } else {
          EXPECT_LT(relative_error(residual, want.residual), 1e-6);
        }
        EXPECT_LT(relative_error(out, want.out), tolerance(mode));
        EXPECT_TRUE(mode == CpuMode::kF32 || holds_bf16(out));
      }
    }
  }
}

TEST(AddNormOp, TheSumMayGoElsewhere) {
  for (const CpuMode mode : kModes) {
    auto ops = cpu_ops(mode);
    auto residual = random_floats(3 * 96, 1, mode);
    const auto before = residual;
    const auto delta = random_floats(3 * 96, 2, mode);
    const auto weight = random_floats(96, 3, CpuMode::kF32);
    auto out = poisoned(3 * 96);
    auto out_in_place = poisoned(3 * 96);
    auto sum = poisoned(3 * 96);
    AddNormParams p{
        residual.data(), delta.data(), weight.data(), {out.data(), nullptr, nullptr, 96}, 1e-5f, 3,
        sum.data()};

    ops->add_norm(p);
    EXPECT_EQ(residual, before);
    p.residual_out = nullptr;
    p.out.values = out_in_place.data();
    ops->add_norm(p);

    EXPECT_EQ(sum, residual);
    EXPECT_EQ(out, out_in_place);
  }
}

TEST(AddNormOp, WithoutDeltaLeavesTheResidual) {
  auto ops = cpu_ops(CpuMode::kF32);
  auto residual = random_floats(3 * 96, 1, CpuMode::kF32);
  const auto before = residual;
  const auto weight = random_floats(96, 3, CpuMode::kF32);
  auto out = poisoned(3 * 96);

  ops->add_norm(
      {residual.data(), nullptr, weight.data(), {out.data(), nullptr, nullptr, 96}, 1e-5f, 3});

  EXPECT_EQ(residual, before);
  const auto want =
      reference::add_norm(reference::matrix(before, 3, 96), nullptr, weight, 1e-5, CpuMode::kF32);
  EXPECT_LT(relative_error(out, want.out), 1e-6);
}

TEST(AddNormOp, Fp8CopyIsTheQuantisedOutput) {
  auto ops = cpu_ops(CpuMode::kDevice);
  auto residual = random_floats(2 * 300, 1, CpuMode::kDevice);
  std::fill(residual.begin() + 128, residual.begin() + 256, 0.0f);  // a group of zeros
  const std::vector<float> weight(300, 1.0f);
  auto out = poisoned(2 * 300);
  std::vector<uint8_t> q(2 * 300, 0x7f);
  auto scales = poisoned(2 * 3);

  ops->add_norm({residual.data(),
                 nullptr,
                 weight.data(),
                 {out.data(), q.data(), scales.data(), 300},
                 1e-5f,
                 2});

  const auto want = reference::quantise(reference::matrix(out, 2, 300));
  for (size_t i = 0; i < q.size(); ++i) EXPECT_EQ(e4m3_to_float(q[i]), want.values.data[i]);
  for (size_t i = 0; i < scales.size(); ++i) EXPECT_EQ(scales[i], want.scales.data[i]);
  EXPECT_EQ(scales[1], 1.0f);
}

struct FfnCase {
  DType dtype;
  int32_t tokens;
  int32_t hidden;
  int32_t columns;
};

class DenseFfnOp : public ::testing::TestWithParam<FfnCase> {};

TEST_P(DenseFfnOp, MatchesTheReferenceInBothModes) {
  const FfnCase c = GetParam();
  const Weight gate_up = random_weight(c.dtype, 2 * c.columns, c.hidden, 21);
  const Weight down = random_weight(c.dtype, c.hidden, c.columns, 22);
  for (const CpuMode mode : kModes) {
    SCOPED_TRACE(mode_name(mode));
    auto ops = cpu_ops(mode);
    const auto x = random_floats(c.tokens * c.hidden, 23, mode);
    auto out = poisoned(c.tokens * c.hidden);

    ops->dense_ffn({{const_cast<float*>(x.data()), nullptr, nullptr, c.hidden},
                    ops->load_linear(gate_up.view()).value(),
                    ops->load_linear(down.view()).value(),
                    out.data(),
                    c.tokens});

    const auto want = reference::stored(
        reference::ffn(reference::matrix(x, c.tokens, c.hidden), gate_up.view(), down.view(), mode),
        mode);
    EXPECT_LT(relative_error(out, want), tolerance(mode, true));
    EXPECT_TRUE(mode == CpuMode::kF32 || holds_bf16(out));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, DenseFfnOp,
                         ::testing::Values(FfnCase{DType::kBf16, 0, 96, 64},
                                           FfnCase{DType::kBf16, 1, 96, 72},
                                           FfnCase{DType::kF32, 7, 100, 129},
                                           FfnCase{DType::kF8E4m3, 1, 256, 128},
                                           FfnCase{DType::kF8E4m3, 33, 200, 300}));

struct ExpertsCase {
  DType dtype;
  int32_t tokens;
  int32_t hidden;
  int32_t columns;
  int32_t first;  // experts held: [first, first + held) of 9, two a token
  int32_t held;
};

class ExpertsOp : public ::testing::TestWithParam<ExpertsCase> {};

TEST_P(ExpertsOp, MatchesTheReferenceInBothModes) {
  const ExpertsCase c = GetParam();
  std::vector<Weight> gate_up;
  std::vector<Weight> down;
  std::vector<HostLinear> gate_up_views;
  std::vector<HostLinear> down_views;
  for (int32_t e = 0; e < c.held; ++e) {
    gate_up.push_back(random_weight(c.dtype, 2 * c.columns, c.hidden, 100 + e));
    down.push_back(random_weight(c.dtype, c.hidden, c.columns, 200 + e));
  }
  for (const Weight& w : gate_up) gate_up_views.push_back(w.view());
  for (const Weight& w : down) down_views.push_back(w.view());
  std::vector<int32_t> ids;  // expert 4 has no tokens
  for (int32_t t = 0; t < c.tokens; ++t) {
    ids.push_back(t % 4);
    ids.push_back(t % 7 == 6 ? -1 : 5 + t % 3);
  }
  const auto weights = random_floats(2 * c.tokens, 31, CpuMode::kF32);
  for (const CpuMode mode : kModes) {
    SCOPED_TRACE(mode_name(mode));
    auto ops = cpu_ops(mode);
    const ExpertWeights loaded{c.first, load_stack(*ops, gate_up), load_stack(*ops, down)};
    const auto x = random_floats(c.tokens * c.hidden, 32, mode);
    auto out = poisoned(c.tokens * c.hidden);

    ops->experts({{const_cast<float*>(x.data()), nullptr, nullptr, c.hidden},
                  &loaded,
                  ids.data(),
                  weights.data(),
                  2,
                  out.data(),
                  c.tokens});

    const auto want = reference::experts(reference::matrix(x, c.tokens, c.hidden), c.first,
                                         gate_up_views, down_views, ids, weights, 2, mode);
    EXPECT_LT(relative_error(out, want), tolerance(mode, true));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, ExpertsOp,
                         ::testing::Values(ExpertsCase{DType::kBf16, 0, 96, 64, 0, 9},
                                           ExpertsCase{DType::kBf16, 1, 96, 40, 0, 9},
                                           ExpertsCase{DType::kBf16, 30, 96, 40, 2, 4},
                                           ExpertsCase{DType::kF32, 5, 64, 33, 4, 1},
                                           ExpertsCase{DType::kF32, 5, 64, 33, 0, 0},
                                           ExpertsCase{DType::kF8E4m3, 20, 256, 128, 0, 9}));

struct RouteCase {
  int32_t tokens;
  int32_t hidden;
  int32_t num_experts;
  reference::RouteShape shape;
};

class RouteOp : public ::testing::TestWithParam<RouteCase> {};

TEST_P(RouteOp, ChoosesAsTheReference) {
  const RouteCase c = GetParam();
  auto ops = cpu_ops(CpuMode::kDevice);
  const int32_t k = c.shape.experts_per_token;
  const auto x = random_floats(c.tokens * c.hidden, 41, CpuMode::kDevice);
  const auto weight = random_floats(c.num_experts * c.hidden, 42, CpuMode::kF32, 0.1f);
  const auto bias = random_floats(c.num_experts, 43, CpuMode::kF32, 0.3f);
  std::vector<int32_t> ids(static_cast<size_t>(c.tokens * k), -1);
  auto weights = poisoned(c.tokens * k);
  RouteParams p;
  p.x = x.data();
  p.weight = weight.data();
  p.bias = bias.data();
  p.hidden = c.hidden;
  p.num_experts = c.num_experts;
  p.experts_per_token = k;
  p.num_groups = c.shape.num_groups;
  p.groups_per_token = c.shape.groups_per_token;
  p.normalize = c.shape.normalize;
  p.scaling = static_cast<float>(c.shape.scaling);
  p.expert_ids = ids.data();
  p.expert_weights = weights.data();
  p.num_tokens = c.tokens;

  ops->route(p);

  const auto want =
      reference::route(reference::matrix(x, c.tokens, c.hidden),
                       reference::matrix(weight, c.num_experts, c.hidden), bias, c.shape);
  EXPECT_EQ(ids, want.expert_ids);
  for (size_t i = 0; i < weights.size(); ++i) EXPECT_NEAR(weights[i], want.weights[i], 2e-6);
}

INSTANTIATE_TEST_SUITE_P(Shapes, RouteOp,
                         ::testing::Values(RouteCase{0, 64, 8, {2, 1, 1, true, 1}},
                                           RouteCase{9, 64, 1, {1, 1, 1, true, 1}},
                                           RouteCase{50, 97, 13, {3, 1, 1, false, 2.5}},
                                           RouteCase{20, 512, 256, {8, 1, 1, true, 1}},
                                           RouteCase{40, 64, 16, {4, 4, 2, true, 1}},
                                           RouteCase{40, 64, 12, {2, 6, 1, true, 1.5}},
                                           RouteCase{40, 64, 16, {8, 2, 1, false, 1}}));

TEST(RouteOp, EqualScoresGoToTheLowerExpertAndGroup) {
  auto ops = cpu_ops(CpuMode::kF32);
  const std::vector<float> x(8, 1.0f);
  const std::vector<float> weight(8 * 8, 0.0f);
  const std::vector<float> bias(8, -5.0f);  // below zero: a closed group's experts must not win
  std::vector<int32_t> ids(3, -1);
  auto weights = poisoned(3);

  ops->route({x.data(),
              weight.data(),
              bias.data(),
              {},
              8,
              8,
              3,
              2,
              1,
              true,
              1.0f,
              ids.data(),
              weights.data(),
              1});

  EXPECT_EQ(ids, (std::vector<int32_t>{0, 1, 2}));
  for (const float w : weights) EXPECT_NEAR(w, 1.0 / 3, 1e-6);
}

TEST(RouteOp, PaddingRowsGetNoExperts) {
  auto ops = cpu_ops(CpuMode::kDevice);
  const auto x = random_floats(3 * 8, 44, CpuMode::kDevice);
  const auto weight = random_floats(4 * 8, 45, CpuMode::kF32);
  const std::vector<float> bias(4, 0.0f);
  std::vector<int32_t> ids(3 * 2, 7);
  auto weights = poisoned(3 * 2);
  const std::vector<int32_t> row_run{0, 1, 2};
  const std::vector<int32_t> context{5, 0, 1};
  RouteParams p{x.data(), weight.data(), bias.data(),    {}, 8, 4, 2, 1, 1, true,
                1.0f,     ids.data(),    weights.data(), 3};
  p.runs.context = context.data();
  p.runs.row_run = row_run.data();

  ops->route(p);

  for (const size_t at : {2, 3}) {
    EXPECT_EQ(ids[at], -1);
    EXPECT_EQ(weights[at], 0.0f);
  }
  for (const size_t at : {0, 1, 4, 5}) EXPECT_TRUE(ids[at] >= 0 && weights[at] > 0);
}

}  // namespace
}  // namespace mimo::kernels::test
