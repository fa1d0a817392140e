#include <algorithm>
#include <cstring>
#include <numeric>
#include <ostream>

#include "kernels/cuda/route/route_ops.h"
#include "tests/kernels/cuda/cuda_support.h"

namespace mimo::kernels::cuda::test {
namespace {

using mimo::kernels::test::kNan;
using mimo::kernels::test::random_floats;

struct Case {
  int32_t tokens = 0;
  int32_t num_experts = 256;
  int32_t hidden = 4096;
  reference::RouteShape shape{.experts_per_token = 8};
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "T " << c.tokens << ", E " << c.num_experts << ", H " << c.hidden << ", K "
             << c.shape.experts_per_token << ", groups " << c.shape.num_groups;
}

struct Inputs {
  std::vector<float> x;       // [T, H], bf16 values
  std::vector<float> weight;  // [E, H]
  std::vector<float> bias;    // [E]
};
Inputs random_inputs(const Case& c, uint32_t seed) {
  const float deviation = 1.0f / std::sqrt(static_cast<float>(c.hidden));
  return {random_floats(int64_t{c.tokens} * c.hidden, seed, CpuMode::kDevice),
          random_floats(int64_t{c.num_experts} * c.hidden, seed + 1, CpuMode::kF32, deviation),
          random_floats(c.num_experts, seed + 2, CpuMode::kF32, 0.1f)};
}

struct Routed {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

class Router {
 public:
  Router(const Case& c, const Inputs& in, const std::vector<int32_t>& context = {},
         const std::vector<int32_t>& row_run = {})
      : c_(c) {
    ops_.prepare({.tokens_max = c.tokens, .num_experts = c.num_experts}).value();
    p_.x = device_bf16(*context_, in.x);
    p_.weight = device_array(*context_, in.weight);
    p_.bias = device_array(*context_, in.bias);
    p_.hidden = c.hidden;
    p_.num_experts = c.num_experts;
    p_.experts_per_token = c.shape.experts_per_token;
    p_.num_groups = c.shape.num_groups;
    p_.groups_per_token = c.shape.groups_per_token;
    p_.normalize = c.shape.normalize;
    p_.scaling = static_cast<float>(c.shape.scaling);
    p_.num_tokens = c.tokens;
    p_.expert_ids = poisoned_array<int32_t>(*context_, size());
    p_.expert_weights = poisoned_array<float>(*context_, size());
    if (context.empty()) return;
    p_.runs.context = device_array(*context_, context);
    p_.runs.row_run = device_array(*context_, row_run);
  }

  // The router is told that so many experts of `rows` rows of 1024 bytes come next.
  void name_experts(int32_t count, int32_t rows) {
    DeviceMatrix gate_up{
        .dtype = DType::kF8E4m3, .count = count, .rows = rows, .cols = 1024, .ld = 1024};
    gate_up.values = poisoned_array<uint8_t>(*context_, gate_up.value_bytes() * count);
    experts_.gate_up = context_->add_stack(gate_up);
    p_.experts = &experts_;
  }

  Routed run() {
    const auto bytes = static_cast<size_t>(size()) * 4;
    CUDA_CHECK(cudaMemsetAsync(p_.expert_ids, 0xff, bytes, context_->stream()));
    CUDA_CHECK(cudaMemsetAsync(p_.expert_weights, 0xff, bytes, context_->stream()));
    ops_.route(p_);
    return {to_host(*context_, p_.expert_ids, size()),
            to_host(*context_, p_.expert_weights, size())};
  }

 private:
  int64_t size() const { return int64_t{c_.tokens} * c_.shape.experts_per_token; }

  const Case c_;
  std::unique_ptr<DeviceContext> context_ = make_context();
  RouteOps ops_{*context_};
  ExpertWeights experts_;
  RouteParams p_;
};

// The sums of 4096 products in float are off by some 1e-6, of which the sigmoid leaves a quarter.
constexpr double kGap = 3e-6;

// What the definition says of one token, in doubles.
struct Wanted {
  reference::Routing routing;
  std::vector<double> scores;
  bool clear = true;  // no two scores that decide are as near as kGap
};

Wanted wanted(const Case& c, const Inputs& in, int32_t token) {
  const std::span<const float> x(in.x.data() + int64_t{token} * c.hidden,
                                 static_cast<size_t>(c.hidden));
  const auto row = reference::matrix(x, 1, c.hidden);
  const auto weight = reference::matrix(in.weight, c.num_experts, c.hidden);
  Wanted out{reference::route(row, weight, in.bias, c.shape), {}, true};
  std::vector<double> choice;
  for (int32_t e = 0; e < c.num_experts; ++e) {
    double sum = 0;
    for (int32_t i = 0; i < c.hidden; ++i) sum += row.at(0, i) * weight.at(e, i);
    out.scores.push_back(1 / (1 + std::exp(-sum)));
    choice.push_back(out.scores.back() + in.bias[static_cast<size_t>(e)]);
  }
  // Near scores anywhere at the top may turn groups or the order round.
  const auto note = [&](std::vector<double> values, int32_t num_deciding) {
    std::sort(values.rbegin(), values.rend());
    for (size_t i = 0; i + 1 < values.size() && static_cast<int32_t>(i) < num_deciding; ++i) {
      out.clear = out.clear && values[i] - values[i + 1] > kGap;
    }
  };
  if (c.shape.num_groups == 1) {
    note(choice, c.shape.experts_per_token);
    return out;
  }
  const int32_t size = c.num_experts / c.shape.num_groups;
  std::vector<double> groups;
  for (int32_t g = 0; g < c.shape.num_groups; ++g) {
    std::vector<double> group(choice.begin() + g * size, choice.begin() + (g + 1) * size);
    std::sort(group.rbegin(), group.rend());
    groups.push_back(group[0] + group[1]);
  }
  note(groups, c.shape.num_groups);
  note(choice, c.num_experts);
  return out;
}

// Some tokens; those whose choice is clear must have exactly the reference's experts.
void expect_routing(const Case& c, const Inputs& in, const Routed& out) {
  const int32_t num_chosen = c.shape.experts_per_token;
  const int32_t step = std::max(1, c.tokens / 40);
  int32_t num_seen = 0;
  int32_t num_clear = 0;
  for (int32_t t = 0; t < c.tokens; t += t + step < c.tokens ? step : 1) {
    const Wanted want = wanted(c, in, t);
    ++num_seen;
    num_clear += want.clear ? 1 : 0;
    double total = 1e-20;
    for (int32_t k = 0; k < num_chosen; ++k) {
      const int32_t id = out.ids[static_cast<size_t>(t * num_chosen + k)];
      ASSERT_TRUE(id >= 0 && id < c.num_experts) << "token " << t << " choice " << k << " " << id;
      total += want.scores[static_cast<size_t>(id)];
    }
    for (int32_t k = 0; k < num_chosen; ++k) {
      const auto at = static_cast<size_t>(t * num_chosen + k);
      if (want.clear) {
        ASSERT_EQ(out.ids[at], want.routing.expert_ids[static_cast<size_t>(k)])
            << "token " << t << " choice " << k;
      }
      const double score = want.scores[static_cast<size_t>(out.ids[at])];
      const double weight = score / (c.shape.normalize ? total : 1.0) * c.shape.scaling;
      ASSERT_NEAR(out.weights[at], weight, 1e-5 * weight) << "token " << t << " choice " << k;
    }
  }
  if (c.num_experts <= 256 && num_seen >= 8) {
    EXPECT_GE(num_clear * 4, num_seen * 3) << "the seed makes a weak test";
  }
}

void expect_right(const Case& c, uint32_t seed) {
  SCOPED_TRACE(::testing::Message() << c);
  const Inputs in = random_inputs(c, seed);
  expect_routing(c, in, Router(c, in).run());
}

TEST(RouteCuda, MatchesTheReferenceAtTheModelsShape) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {0,  1,  2,   4,   5,   8,   9,   16,  17,   32,   33,
                               64, 65, 128, 129, 192, 193, 256, 257, 1000, 4000, 8192}) {
    expect_right({.tokens = tokens}, 100);
  }
}

TEST(RouteCuda, MatchesTheReferenceAtOtherShapes) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {1, 3, 7, 16, 33, 130, 200, 300}) {
    expect_right({tokens, 16, 64, {.experts_per_token = 4}}, 200);
    expect_right({tokens, 63, 72, {.experts_per_token = 5, .normalize = false}}, 201);
    expect_right({tokens, 1, 8, {.experts_per_token = 1}}, 202);
    expect_right({tokens, 255, 1032, {.experts_per_token = 8, .scaling = 2.5}}, 203);
    expect_right({tokens, 32, 8200, {.experts_per_token = 32}}, 204);
    expect_right({tokens, 1024, 128, {.experts_per_token = 32}}, 205);
    expect_right({tokens, 96, 1024, {.experts_per_token = 12}}, 206);
  }
}

TEST(RouteCuda, ChoosesAmongTheBestGroups) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {1, 7, 16, 70, 300}) {
    expect_right(
        {tokens, 64, 256, {.experts_per_token = 6, .num_groups = 8, .groups_per_token = 3}}, 300);
    expect_right({tokens, 12, 64, {.experts_per_token = 4, .num_groups = 6, .groups_per_token = 2}},
                 301);
    expect_right(
        {tokens, 128, 128, {.experts_per_token = 8, .num_groups = 64, .groups_per_token = 40}},
        302);
  }
}

// Every expert has the same weights, so every score is the same to the bit.
TEST(RouteCuda, TiesGoToTheLowerExpertAndGroup) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {1, 6, 16, 40, 70, 300}) {
    Case c{.tokens = tokens, .num_experts = 96, .hidden = 64};
    Inputs in = random_inputs(c, 400);
    for (size_t i = 64; i < in.weight.size(); ++i) in.weight[i] = in.weight[i % 64];
    std::fill(in.bias.begin(), in.bias.end(), 0.25f);
    in.bias[70] = 0.5f;
    const auto expect_ids = [&](const std::vector<int32_t>& want) {
      const Routed out = Router(c, in).run();
      for (size_t i = 0; i < out.ids.size(); ++i) {
        ASSERT_EQ(out.ids[i], want[i % want.size()]) << c << ", entry " << i;
      }
    };
    c.shape.experts_per_token = 5;
    expect_ids({70, 0, 1, 2, 3});
    c.shape.num_groups = 12;  // of 8: expert 70 is in the ninth
    c.shape.groups_per_token = 2;
    expect_ids({70, 0, 1, 2, 3});
    c.shape.experts_per_token = 10;
    expect_ids({70, 0, 1, 2, 3, 4, 5, 6, 7, 64});
  }
}

// All scores are the same, so the biases choose: ties of two, within the chosen or at their end.
TEST(RouteCuda, TiesOfTwoGoToTheLowerExpert) {
  SKIP_WITHOUT_GPU();
  struct Tie {
    int32_t low = 0;
    int32_t high = 0;
    int32_t rank = 0;  // of the lower one
  };
  for (const int32_t tokens : {1, 4, 16, 40, 100, 256}) {
    for (const auto& [low, high, rank] :
         {Tie{8, 9, 0}, Tie{8, 11, 3}, Tie{20, 148, 6}, Tie{3, 40, 2}, Tie{130, 255, 5},
          Tie{64, 67, 7}, Tie{0, 4, 7}, Tie{127, 128, 7}}) {
      const Case c{.tokens = tokens, .hidden = 64};
      Inputs in = random_inputs(c, 450);
      for (size_t i = 64; i < in.weight.size(); ++i) in.weight[i] = in.weight[i % 64];
      for (int32_t e = 0; e < 256; ++e)
        in.bias[static_cast<size_t>(e)] = -0.001f * static_cast<float>(e + 1);
      std::vector<int32_t> want;
      for (int32_t expert = 80; want.size() < 8; ++expert) {
        const auto place = static_cast<int32_t>(want.size());
        const bool tied = place == rank || place == rank + 1;
        want.push_back(place == rank ? low : tied ? high : expert);
        const auto level = static_cast<float>(8 - (place == rank + 1 ? rank : place));
        in.bias[static_cast<size_t>(want.back())] = level;
        if (place == rank) in.bias[static_cast<size_t>(high)] = level;
      }
      const Routed out = Router(c, in).run();
      for (size_t i = 0; i < out.ids.size(); ++i) {
        ASSERT_EQ(out.ids[i], want[i % 8])
            << c << ", experts " << low << " and " << high << ", entry " << i;
      }
    }
  }
}

TEST(RouteCuda, TheBiasChoosesButDoesNotWeigh) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {3, 90}) {
    const Case c{
        .tokens = tokens, .num_experts = 40, .hidden = 128, .shape = {.experts_per_token = 2}};
    Inputs in = random_inputs(c, 500);
    std::fill(in.bias.begin(), in.bias.end(), 0.0f);
    in.bias[17] = 30.0f;
    in.bias[5] = 20.0f;
    const Routed out = Router(c, in).run();
    for (size_t i = 0; i < out.ids.size(); i += 2) {
      ASSERT_EQ(out.ids[i], 17) << i;
      ASSERT_EQ(out.ids[i + 1], 5) << i;
      ASSERT_NEAR(out.weights[i] + out.weights[i + 1], 1.0, 1e-6) << i;
    }
    expect_routing(c, in, out);
  }
}

// Runs whose context is 0 stand between the others; their rows hold NaN.
TEST(RouteCuda, PaddingHasNoExperts) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {2, 8, 16, 40, 100, 300}) {
    const Case c{.tokens = tokens, .num_experts = 64, .hidden = 256};
    Inputs in = random_inputs(c, 600);
    const Routed whole = Router(c, in).run();
    std::vector<int32_t> row_run;
    for (int32_t t = 0; t < tokens; ++t) row_run.push_back(t / 2);
    std::vector<int32_t> context;
    for (int32_t s = 0; s <= tokens / 2; ++s) context.push_back(s % 3 == 1 ? 0 : 7 + s);
    for (int32_t t = 0; t < tokens; ++t) {
      if (t / 2 % 3 == 1) std::fill_n(in.x.begin() + t * 256, 256, kNan);
    }
    const Routed out = Router(c, in, context, row_run).run();
    for (size_t i = 0; i < out.ids.size(); ++i) {
      const bool padding = i / 8 / 2 % 3 == 1;
      ASSERT_EQ(out.ids[i], padding ? -1 : whole.ids[i]) << c << ", entry " << i;
      ASSERT_EQ(out.weights[i], padding ? 0.0f : whole.weights[i]) << c << ", entry " << i;
    }
  }
}

TEST(RouteCuda, ChoosesTheSameWhereItAsksForTheExperts) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {4, 51, 64, 256, 300}) {
    for (const auto& [count, rows] : {std::pair(256, 160), std::pair(64, 128), std::pair(3, 1)}) {
      const Case c{.tokens = tokens, .hidden = 64};
      const Inputs in = random_inputs(c, 900);
      const Routed want = Router(c, in).run();
      Router router(c, in);
      router.name_experts(count, rows);
      const Routed out = router.run();
      ASSERT_EQ(out.ids, want.ids) << c << ", " << count << " experts of " << rows << " rows";
      ASSERT_EQ(out.weights, want.weights) << c;
    }
  }
}

TEST(RouteCuda, ANanRowKeepsToItself) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {8, 16, 200, 400}) {
    const Case c{.tokens = tokens, .num_experts = 64, .hidden = 256};
    Inputs in = random_inputs(c, 700);
    const Routed whole = Router(c, in).run();
    in.x[5 * 256 + 3] = kNan;
    const Routed out = Router(c, in).run();
    for (size_t i = 0; i < out.ids.size(); ++i) {
      if (i / 8 == 5) {
        ASSERT_TRUE(out.ids[i] >= 0 && out.ids[i] < 64) << i;
        ASSERT_TRUE(std::isnan(out.weights[i])) << i;
      } else {
        ASSERT_EQ(out.ids[i], whole.ids[i]) << i;
        ASSERT_EQ(out.weights[i], whole.weights[i]) << i;
      }
    }
  }
}

TEST(RouteCuda, RepeatsBitForBit) {
  SKIP_WITHOUT_GPU();
  for (const int32_t tokens : {3, 16, 64, 256, 600, 8192}) {
    const Case c{.tokens = tokens};
    Router router(c, random_inputs(c, 800));
    const Routed first = router.run();
    for (int32_t i = 0; i < 1000; ++i) {
      const Routed again = router.run();
      ASSERT_EQ(again.ids, first.ids) << c << ", run " << i;
      ASSERT_EQ(again.weights, first.weights) << c << ", run " << i;
    }
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
