#include <ostream>
#include <random>

#include "kernels/cuda/product/experts_few.h"
#include "tests/kernels/cuda/product_experts_few_model.h"
#include "tests/kernels/cuda/product_support.h"

namespace mimo::kernels::cuda::test {
namespace {

// Against the model of wgmma's sums: what is left is how exp and the last bits of float round.
constexpr double kModel = 2e-3;
// Against sums without loss; see the model.
constexpr double kLossless = 5e-2;
constexpr int32_t kTokensMax = product::kFewTokensMax;

struct Shape {
  int32_t hidden;
  int32_t columns;
  int32_t num_experts;  // of the model
  int32_t num_local;
  int32_t first;
  int32_t experts_per_token;
};
std::ostream& operator<<(std::ostream& out, const Shape& s) {
  return out << s.hidden << " x " << s.columns << ", experts " << s.first << " + " << s.num_local
             << " of " << s.num_experts << ", " << s.experts_per_token << " a token";
}

enum class Routing : uint8_t { kUniform, kSame, kOne, kTwice, kPadding, kElsewhere, kNone };
const char* routing_name(Routing routing) {
  constexpr const char* kNames[] = {"uniform",   "the same experts", "one expert",
                                    "one twice", "padding between",  "other ranks'",
                                    "none"};
  return kNames[static_cast<size_t>(routing)];
}
constexpr Routing kRoutings[] = {Routing::kUniform, Routing::kSame,    Routing::kOne,
                                 Routing::kTwice,   Routing::kPadding, Routing::kElsewhere,
                                 Routing::kNone};

std::vector<int32_t> expert_ids(const Shape& s, Routing routing, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<int32_t> all(static_cast<size_t>(s.num_experts));
  for (int32_t e = 0; e < s.num_experts; ++e) all[static_cast<size_t>(e)] = e;
  std::shuffle(all.begin(), all.end(), generator);
  std::vector<int32_t> out;
  for (int32_t t = 0; t < kTokensMax; ++t) {
    if (routing != Routing::kSame) std::shuffle(all.begin(), all.end(), generator);
    for (int32_t k = 0; k < s.experts_per_token; ++k) {
      int32_t id = all[static_cast<size_t>(k)];
      if (routing == Routing::kOne) id = k == 1 ? s.first + s.num_local - 1 : -1;
      if (routing == Routing::kTwice) id = k < 2 ? s.first + t % 2 : -1;
      if (routing == Routing::kPadding && (t % 3 == 1 || k == 1)) id = -1;
      if (routing == Routing::kElsewhere) id = s.first + s.num_local + k;
      if (routing == Routing::kNone) id = -1;
      out.push_back(id);
    }
  }
  return out;
}

std::vector<float> random_weights(int64_t count) {
  std::mt19937 generator(62);
  std::uniform_real_distribution<float> uniform(0.05f, 1.0f);
  std::vector<float> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(uniform(generator));
  return out;
}

std::vector<HostLinear> views(const std::vector<Weight>& weights) {
  std::vector<HostLinear> out;
  for (const Weight& weight : weights) out.push_back(weight.view());
  return out;
}

// A device with one layer's experts, and kTokensMax tokens.
class FewRunner {
 public:
  explicit FewRunner(const Shape& shape) : shape_(shape), context_(make_context()) {
    for (int32_t e = 0; e < shape.num_local; ++e) {
      const auto seed = static_cast<uint32_t>(e);
      gate_up_.push_back(quick_weight(DType::kF8E4m3, 2 * shape.columns, shape.hidden, 91 + seed));
      down_.push_back(quick_weight(DType::kF8E4m3, shape.hidden, shape.columns, 191 + seed));
    }
    experts_.first = shape.first;
    experts_.gate_up = context_->add_stack(device_weights(*context_, gate_up_));
    experts_.down = context_->add_stack(device_weights(*context_, down_));
    x_ = random_floats(int64_t{kTokensMax} * shape.hidden, 93, kDevice, 0.1f);
    rows_ = device_rows(*context_, x_, shape.hidden, true);
    const int64_t pairs = int64_t{kTokensMax} * shape.experts_per_token;
    weights_ = random_weights(pairs);
    device_weights_ = device_array(*context_, weights_);
    ids_ = poisoned_array<int32_t>(*context_, pairs);
    out_ = poisoned_array<uint16_t>(*context_, int64_t{kTokensMax} * shape.hidden);
    few_.emplace(product::ExpertsFew::create(*context_, shape.hidden).value());
  }

  DeviceContext& context() { return *context_; }
  void set_ids(const std::vector<int32_t>& ids) {
    CUDA_CHECK(cudaMemcpyAsync(ids_, ids.data(), ids.size() * sizeof(int32_t),
                               cudaMemcpyHostToDevice, context_->stream()));
    CUDA_CHECK(cudaStreamSynchronize(context_->stream()));
  }
  void queue(int32_t num_tokens) {
    const ExpertsParams params = {.x = rows_,
                                  .experts = &experts_,
                                  .expert_ids = ids_,
                                  .expert_weights = device_weights_,
                                  .experts_per_token = shape_.experts_per_token,
                                  .out = out_,
                                  .num_tokens = num_tokens};
    ASSERT_STREQ(few_->refusal(params), nullptr);
    few_->run(params);
  }
  void poison() {
    const auto bytes = static_cast<size_t>(kTokensMax * shape_.hidden) * sizeof(uint16_t);
    CUDA_CHECK(cudaMemsetAsync(out_, 0xff, bytes, context_->stream()));
  }
  std::vector<float> result(int32_t num_tokens) {
    return bf16_to_host(*context_, out_, int64_t{num_tokens} * shape_.hidden);
  }
  std::vector<float> run(int32_t num_tokens) {
    poison();
    queue(num_tokens);
    return result(num_tokens);
  }
  Matrix reference(const std::vector<int32_t>& ids, int32_t num_tokens) const {
    const auto tokens = static_cast<size_t>(num_tokens);
    const auto pairs = tokens * static_cast<size_t>(shape_.experts_per_token);
    const Matrix in =
        reference::matrix(std::span(x_).first(tokens * static_cast<size_t>(shape_.hidden)),
                          num_tokens, shape_.hidden);
    return reference::experts(in, shape_.first, views(gate_up_), views(down_),
                              std::span(ids).first(pairs), std::span(weights_).first(pairs),
                              shape_.experts_per_token, kDevice);
  }
  Matrix model(const std::vector<int32_t>& ids, int32_t num_tokens) const {
    Matrix out(num_tokens, shape_.hidden);
    for (int32_t t = 0; t < num_tokens; ++t) {
      const auto begin = x_.begin() + int64_t{t} * shape_.hidden;
      const ModelRow x(std::vector<float>(begin, begin + shape_.hidden));
      for (int32_t k = 0; k < shape_.experts_per_token; ++k) {
        const auto pair = static_cast<size_t>(t * shape_.experts_per_token + k);
        const int32_t expert = ids[pair] - shape_.first;
        if (ids[pair] < 0 || expert < 0 || expert >= shape_.num_local) continue;
        const auto at = static_cast<size_t>(expert);
        const auto y = model_expert(gate_up_[at], down_[at], x);
        for (int32_t c = 0; c < shape_.hidden; ++c) {
          out.at(t, c) += weights_[pair] * y[static_cast<size_t>(c)];
        }
      }
    }
    return reference::stored(out, kDevice);
  }

 private:
  const Shape shape_;
  std::unique_ptr<DeviceContext> context_;
  std::vector<Weight> gate_up_;
  std::vector<Weight> down_;
  std::vector<float> x_;
  std::vector<float> weights_;
  ExpertWeights experts_;
  Rows rows_;
  float* device_weights_ = nullptr;
  int32_t* ids_ = nullptr;
  uint16_t* out_ = nullptr;
  std::optional<product::ExpertsFew> few_;
};

class ExpertsFewCuda : public ::testing::TestWithParam<Shape> {};

TEST_P(ExpertsFewCuda, MatchTheReferenceHoweverTokensAreRouted) {
  SKIP_WITHOUT_GPU();
  FewRunner runner(GetParam());
  for (const Routing routing : kRoutings) {
    SCOPED_TRACE(routing_name(routing));
    const auto ids = expert_ids(GetParam(), routing, 61);
    const Matrix want = runner.reference(ids, kTokensMax);
    const Matrix model = runner.model(ids, kTokensMax);
    runner.set_ids(ids);
    for (int32_t num_tokens = 1; num_tokens <= kTokensMax; ++num_tokens) {
      SCOPED_TRACE(num_tokens);
      const auto got = runner.run(num_tokens);
      EXPECT_BLOCKS_NEAR(got, first_rows(want, num_tokens), num_tokens, kLossless);
      EXPECT_BLOCKS_NEAR(got, first_rows(model, num_tokens), num_tokens, kModel);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, ExpertsFewCuda,
                         ::testing::Values(Shape{512, 512, 8, 8, 0, 4},
                                           Shape{1024, 512, 24, 12, 8, 8},
                                           Shape{1536, 1024, 6, 6, 0, 3},
                                           Shape{768, 256, 9, 7, 1, 5}));

// The model's own shape: 40 experts, so that blocks take several units each.
TEST(ExpertsFewRealShape, MatchesTheReference) {
  SKIP_WITHOUT_GPU();
  const Shape s = {4096, 512, 40, 40, 0, 8};
  FewRunner runner(s);
  const auto ids = expert_ids(s, Routing::kUniform, 63);
  const Matrix want = runner.reference(ids, 2);
  const Matrix model = runner.model(ids, 2);
  runner.set_ids(ids);
  for (const int32_t num_tokens : {1, 2, 3, 4}) {
    SCOPED_TRACE(num_tokens);
    const auto got = runner.run(num_tokens);
    const int32_t compared = std::min(num_tokens, 2);
    const auto rows = std::span(got).first(static_cast<size_t>(compared) * 4096);
    EXPECT_BLOCKS_NEAR(rows, first_rows(want, compared), compared, kLossless);
    EXPECT_BLOCKS_NEAR(rows, first_rows(model, compared), compared, kModel);
    EXPECT_TRUE(std::all_of(got.begin(), got.end(), [](float v) { return std::isfinite(v); }));
  }
}

TEST(ExpertsFew, GivesTheSameBitsAThousandTimes) {
  SKIP_WITHOUT_GPU();
  const Shape s = {4096, 512, 32, 32, 0, 8};
  FewRunner runner(s);
  runner.set_ids(expert_ids(s, Routing::kUniform, 64));
  for (const int32_t num_tokens : {1, 2, 3, 4}) {
    SCOPED_TRACE(num_tokens);
    const auto first = runner.run(num_tokens);
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(equal_bits(first, runner.run(num_tokens))) << "launch " << i;
    }
  }
}

// Launches that follow one another without a break, in a graph, with other ids at each replay.
TEST(ExpertsFew, AReplayWithOtherIdsEqualsACall) {
  SKIP_WITHOUT_GPU();
  const Shape s = {1024, 512, 24, 12, 8, 8};
  for (const int32_t num_tokens : {1, 3}) {
    SCOPED_TRACE(num_tokens);
    FewRunner runner(s);
    const cudaStream_t stream = runner.context().stream();
    runner.set_ids(expert_ids(s, Routing::kUniform, 65));
    runner.run(num_tokens);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < 20; ++i) runner.queue(num_tokens);
    CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
    CUDA_CHECK(cudaGraphInstantiate(&exec, graph, 0));
    for (uint32_t seed = 70; seed < 90; ++seed) {
      const Routing routing = seed % 4 == 3 ? Routing::kPadding : Routing::kUniform;
      runner.set_ids(expert_ids(s, routing, seed));
      const auto want = runner.run(num_tokens);
      runner.poison();
      CUDA_CHECK(cudaGraphLaunch(exec, stream));
      EXPECT_TRUE(equal_bits(want, runner.result(num_tokens))) << "ids of seed " << seed;
    }
    CUDA_CHECK(cudaGraphExecDestroy(exec));
    CUDA_CHECK(cudaGraphDestroy(graph));
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
