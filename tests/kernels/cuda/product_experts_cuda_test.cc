#include <ostream>
#include <random>

#include "tests/kernels/cuda/product_support.h"

namespace mimo::kernels::cuda::test {
namespace {

// With an intermediate whose e4m3 may fall on the other side of a step (2^-4 of one column).
constexpr double kIntermediate = 1.5e-2;

enum class Routing : uint8_t { kUniform, kSame, kOne, kSparse, kNone };
const char* routing_name(Routing routing) {
  constexpr const char* kNames[] = {"uniform", "the same experts", "one expert", "two experts",
                                    "none"};
  return kNames[static_cast<size_t>(routing)];
}

struct Shape {
  DType dtype;
  int32_t hidden;
  int32_t columns;
  int32_t num_experts = 8;  // of the model
  int32_t num_local = 8;
  int32_t first = 0;
  int32_t experts_per_token = 4;
  int32_t rows_per_scale = 128;
};
std::ostream& operator<<(std::ostream& out, const Shape& s) {
  return out << dtype_name(s.dtype) << " " << s.hidden << " x " << s.columns << ", experts "
             << s.first << " + " << s.num_local << " of " << s.num_experts;
}

// Different experts for each token's choices; here and there -1.
std::vector<int32_t> expert_ids(const Shape& s, Routing routing, int32_t num_tokens) {
  std::mt19937 generator(61);
  std::vector<int32_t> all(static_cast<size_t>(s.num_experts));
  for (int32_t e = 0; e < s.num_experts; ++e) all[static_cast<size_t>(e)] = e;
  std::vector<int32_t> out;
  for (int32_t t = 0; t < num_tokens; ++t) {
    if (routing == Routing::kUniform) std::shuffle(all.begin(), all.end(), generator);
    for (int32_t k = 0; k < s.experts_per_token; ++k) {
      int32_t id = all[static_cast<size_t>(k)];
      if (routing == Routing::kUniform && t % 5 == 4 && k == 1) id = -1;
      if (routing == Routing::kOne) id = k == 1 ? s.first + s.num_local - 1 : -1;
      if (routing == Routing::kSparse) id = k < 2 && t % 3 != 1 ? s.first + 2 * k + 1 : -1;
      if (routing == Routing::kNone) id = -1;
      out.push_back(id);
    }
  }
  return out;
}

std::vector<Weight> expert_weights(const Shape& s, int64_t rows, int64_t cols, uint32_t seed) {
  std::vector<Weight> out;
  for (int32_t e = 0; e < s.num_local; ++e) {
    out.push_back(
        random_weight(s.dtype, rows, cols, seed + static_cast<uint32_t>(2 * e), s.rows_per_scale));
  }
  return out;
}

std::vector<HostLinear> views(const std::vector<Weight>& weights) {
  std::vector<HostLinear> out;
  for (const Weight& weight : weights) out.push_back(weight.view());
  return out;
}

// A device with one layer's experts.
class ExpertsRunner {
 public:
  ExpertsRunner(const Shape& shape, const std::vector<Weight>& gate_up,
                const std::vector<Weight>& down)
      : shape_(shape), context_(make_context()) {
    StepLimits limits = product_limits();
    limits.hidden = shape.hidden;
    limits.expert_cols_max = shape.columns;
    limits.num_experts = shape.num_experts;
    limits.num_local_experts = shape.num_local;
    limits.experts_per_token = shape.experts_per_token;
    ops_ = product_ops(*context_, limits);
    experts_.first = shape.first;
    experts_.gate_up = context_->add_stack(device_weights(*context_, gate_up));
    experts_.down = context_->add_stack(device_weights(*context_, down));
  }

  void set_input(const std::vector<float>& x, bool with_q) {
    x_ = device_rows(*context_, x, shape_.hidden, with_q);
  }
  void set_routing(const std::vector<int32_t>& ids, const std::vector<float>& weights) {
    ids_ = device_array(*context_, ids);
    weights_ = device_array(*context_, weights);
  }
  std::vector<float> run(int32_t num_tokens) {
    const int64_t size = int64_t{num_tokens} * shape_.hidden;
    uint16_t* const out = poisoned_array<uint16_t>(*context_, size + 1);
    ops_->experts({.x = x_,
                   .experts = &experts_,
                   .expert_ids = ids_,
                   .expert_weights = weights_,
                   .experts_per_token = shape_.experts_per_token,
                   .out = out,
                   .num_tokens = num_tokens});
    return bf16_to_host(*context_, out, size);
  }

 private:
  const Shape shape_;
  std::unique_ptr<DeviceContext> context_;
  std::unique_ptr<ProductOps> ops_;
  ExpertWeights experts_;
  Rows x_;
  int32_t* ids_ = nullptr;
  float* weights_ = nullptr;
};

std::vector<float> random_weights(int64_t count) {
  std::mt19937 generator(62);
  std::uniform_real_distribution<float> uniform(0.05f, 1.0f);
  std::vector<float> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(uniform(generator));
  return out;
}

class Experts : public ::testing::TestWithParam<Shape> {};

TEST_P(Experts, MatchTheReferenceHoweverTokensAreRouted) {
  SKIP_WITHOUT_GPU();
  const Shape s = GetParam();
  const auto gate_up = expert_weights(s, 2 * s.columns, s.hidden, 71);
  const auto down = expert_weights(s, s.hidden, s.columns, 171);
  const auto x = random_floats(int64_t{kManyTokens} * s.hidden, 73, kDevice);
  const auto weights = random_weights(int64_t{kManyTokens} * s.experts_per_token);
  const Matrix in = reference::matrix(x, kManyTokens, s.hidden);
  ExpertsRunner runner(s, gate_up, down);
  for (const Routing routing :
       {Routing::kUniform, Routing::kSame, Routing::kOne, Routing::kSparse, Routing::kNone}) {
    SCOPED_TRACE(routing_name(routing));
    const auto ids = expert_ids(s, routing, kManyTokens);
    const Matrix want = reference::experts(in, s.first, views(gate_up), views(down), ids, weights,
                                           s.experts_per_token, kDevice);
    runner.set_routing(ids, weights);
    for (const bool with_q : {false, true}) {
      if (with_q && s.dtype != DType::kF8E4m3) continue;
      runner.set_input(x, with_q);
      for (const int32_t num_tokens : kTokenCounts) {
        SCOPED_TRACE(num_tokens);
        const auto got = runner.run(num_tokens);
        EXPECT_BLOCKS_NEAR(got, want, num_tokens, kIntermediate);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Experts,
                         ::testing::Values(Shape{DType::kBf16, 64, 16}, Shape{DType::kBf16, 96, 24},
                                           Shape{DType::kF8E4m3, 64, 24},
                                           Shape{DType::kF8E4m3, 96, 48, 8, 8, 0, 4, 16},
                                           Shape{DType::kF8E4m3, 256, 128, 8, 8, 0, 4, 64},
                                           Shape{DType::kBf16, 64, 32, 16, 4, 8},
                                           Shape{DType::kF8E4m3, 128, 64, 16, 4, 12, 2, 32},
                                           Shape{DType::kF8E4m3, 64, 32, 64, 64, 0, 8}));

// The model's own shape, 24 experts of it: two tokens against the reference, all of them finite.
TEST(ExpertsRealShape, MatchTheReferenceOfSomeTokens) {
  SKIP_WITHOUT_GPU();
  const Shape s = {DType::kF8E4m3, 4096, 512, 24, 24, 0, 8};
  std::vector<Weight> gate_up;
  std::vector<Weight> down;
  for (uint32_t e = 0; e < 24; ++e) {
    gate_up.push_back(quick_weight(s.dtype, 2 * s.columns, s.hidden, 81 + e));
    down.push_back(quick_weight(s.dtype, s.hidden, s.columns, 181 + e));
  }
  const auto x = random_floats(int64_t{kManyTokens} * s.hidden, 83, kDevice, 0.01f);
  const auto weights = random_weights(int64_t{kManyTokens} * 8);
  const auto ids = expert_ids(s, Routing::kUniform, kManyTokens);
  ExpertsRunner runner(s, gate_up, down);
  runner.set_input(x, true);
  runner.set_routing(ids, weights);
  const auto token = [&](int32_t t) {
    const auto at = static_cast<size_t>(t) * 4096;
    const auto first = static_cast<size_t>(t) * 8;
    return reference::experts(reference::matrix(std::span(x).subspan(at, 4096), 1, 4096), 0,
                              views(gate_up), views(down), std::span(ids).subspan(first, 8),
                              std::span(weights).subspan(first, 8), 8, kDevice);
  };
  const Matrix want_first = token(0);
  const Matrix want_last = token(15);

  for (const int32_t num_tokens : {1, 16, 33, 64, 129}) {
    SCOPED_TRACE(num_tokens);
    const auto got = runner.run(num_tokens);
    ASSERT_EQ(std::count_if(got.begin(), got.end(), [](float v) { return !std::isfinite(v); }), 0);
    EXPECT_BLOCKS_NEAR(std::span(got).first(4096), want_first, 1, kIntermediate);
    if (num_tokens < 16) continue;
    EXPECT_BLOCKS_NEAR(std::span(got).subspan(15 * 4096, 4096), want_last, 1, kIntermediate);
  }
}

TEST(Experts, GiveTheSameBitsEveryTime) {
  SKIP_WITHOUT_GPU();
  const Shape s = {DType::kF8E4m3, 1024, 512, 16, 16, 0, 8};
  std::vector<Weight> gate_up;
  std::vector<Weight> down;
  for (uint32_t e = 0; e < 16; ++e) {
    gate_up.push_back(quick_weight(s.dtype, 1024, 1024, 91 + e));
    down.push_back(quick_weight(s.dtype, 1024, 512, 191 + e));
  }
  ExpertsRunner runner(s, gate_up, down);
  runner.set_input(random_floats(int64_t{kManyTokens} * 1024, 93, kDevice, 0.1f), false);
  runner.set_routing(expert_ids(s, Routing::kUniform, kManyTokens),
                     random_weights(int64_t{kManyTokens} * 8));
  for (const int32_t num_tokens : {1, 8, 33, 129}) {
    SCOPED_TRACE(num_tokens);
    const auto first = runner.run(num_tokens);
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(equal_bits(first, runner.run(num_tokens))) << "launch " << i;
    }
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
