#include <map>

#include "tests/kernels/support.h"

namespace mimo::kernels::test {
namespace {

constexpr int32_t kVocab = 50;

// One row of logits, whose draws are made one after another at positions 0, 1, ...
class Draws {
 public:
  explicit Draws(std::vector<float> logits) : logits_(std::move(logits)) {}

  TokenChoice one(const SamplerInit& init, int32_t position) {
    ops_->set_sampler(0, init);
    num_logprobs_ = init.params.num_logprobs;
    return next(position);
  }
  TokenChoice next(int32_t position) {
    const int32_t zero = 0;
    std::vector<TokenLogprob> top(kTopLogprobsMax);
    std::vector<float> full(logits_.size(), kNan);
    DrawResult result;
    SampleParams p;
    p.logits = logits_.data();
    p.shard_cols = static_cast<int32_t>(logits_.size());
    p.vocab_limit = p.shard_cols;
    p.num_rows = 1;
    p.rows = &zero;
    p.slots = &zero;
    p.positions = &position;
    p.num_draws = 1;
    p.last_tokens = &last_token_;
    p.results = &result;
    p.top = top.data();
    p.top_max = kTopLogprobsMax;
    p.full = full.data();
    ops_->sample(p);
    EXPECT_EQ(last_token_, result.id);
    return make_choice(result, num_logprobs_, top, full);
  }

 private:
  std::unique_ptr<Ops> ops_ = cpu_ops(CpuMode::kF32, 1);
  std::vector<float> logits_;
  int32_t num_logprobs_ = -1;
  int32_t last_token_ = 0;
};

std::vector<float> row(uint32_t seed = 5) {
  return random_floats(kVocab, seed, CpuMode::kF32, 2.0f);
}

struct Filter {
  const char* name;
  SamplingParams params;
  std::vector<int32_t> tokens;
  int32_t num_prompt = 0;
};

std::vector<Filter> filters() {
  std::vector<Filter> out;
  const auto add = [&](const char* name, auto change, std::vector<int32_t> tokens = {},
                       int32_t num_prompt = 0) {
    out.push_back({name, {}, std::move(tokens), num_prompt});
    out.back().params.seed = 77;
    change(out.back().params);
  };
  add("plain", [](SamplingParams&) {});
  add("hot", [](SamplingParams& p) { p.temperature = 3; });
  add("cold", [](SamplingParams& p) { p.temperature = 0.3f; });
  add("top_k", [](SamplingParams& p) { p.top_k = 5; });
  add("top_k_wide", [](SamplingParams& p) { p.top_k = 1000; });
  add("top_p", [](SamplingParams& p) { p.top_p = 0.7f; });
  add("min_p", [](SamplingParams& p) { p.min_p = 0.2f; });
  add("all_filters", [](SamplingParams& p) {
    p.temperature = 2;
    p.top_k = 12;
    p.top_p = 0.8f;
    p.min_p = 0.05f;
  });
  const std::vector<int32_t> tokens{1, 2, 3, 3, 4, 7, 7, 7, 9};
  add(
      "repetition", [](SamplingParams& p) { p.repetition_penalty = 1.8f; }, tokens, 4);
  add(
      "presence", [](SamplingParams& p) { p.presence_penalty = 1.5f; }, tokens, 4);
  add(
      "frequency", [](SamplingParams& p) { p.frequency_penalty = -0.5f; }, tokens, 4);
  add("bias", [](SamplingParams& p) { p.logit_bias = {{3, 5.0f}, {8, -100.0f}, {9999, 1.0f}}; });
  add(
      "min_tokens",
      [](SamplingParams& p) {
        p.min_tokens = 6;
        p.stop_ids = {0, 11, 9999};
      },
      tokens, 4);
  add(
      "together",
      [](SamplingParams& p) {
        p.repetition_penalty = 1.2f;
        p.presence_penalty = 0.5f;
        p.logit_bias = {{7, 3.0f}};
        p.top_p = 0.9f;
        p.temperature = 1.5f;
      },
      tokens, 4);
  return out;
}

// 5,000 draws against the reference's distribution: chi-square below 5.5 standard deviations of
// its own (seeds are fixed, so this holds or fails for good), and nothing drawn that has no
// probability.
TEST(Sampler, DrawsFollowTheReferenceDistribution) {
  constexpr int32_t kDraws = 5000;
  for (const Filter& filter : filters()) {
    Draws draws(row());
    const SamplerInit init{filter.params, filter.tokens, filter.num_prompt};
    const auto want = reference::distribution(row(), init);
    std::vector<int32_t> counts(kVocab, 0);
    for (int32_t position = 0; position < kDraws; ++position) {
      ++counts[static_cast<size_t>(draws.one(init, position).id)];
    }
    double chi_square = 0;
    double freedom = -1;
    for (size_t i = 0; i < counts.size(); ++i) {
      const double expected = want[i] * kDraws;
      EXPECT_TRUE(want[i] > 0 || counts[i] == 0) << filter.name << " token " << i;
      if (expected < 5) continue;
      chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
      freedom += 1;
    }
    EXPECT_LT(chi_square, freedom + 5.5 * std::sqrt(2 * freedom + 1)) << filter.name;
  }
}

TEST(Sampler, DrawDependsOnSeedAndPositionAlone) {
  Draws draws(row());
  SamplerInit init;
  init.params.seed = 3;
  init.params.temperature = 2;
  std::vector<int32_t> forward;
  for (int32_t p = 0; p < 50; ++p) forward.push_back(draws.one(init, p).id);
  for (int32_t p = 50; p-- > 0;) EXPECT_EQ(draws.one(init, p).id, forward[static_cast<size_t>(p)]);

  init.params.seed = 4;
  int32_t same = 0;
  for (int32_t p = 0; p < 50; ++p) {
    same += draws.one(init, p).id == forward[static_cast<size_t>(p)] ? 1 : 0;
  }
  EXPECT_LT(same, 25);
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  std::vector<float> logits(kVocab, 0.0f);
  logits[20] = logits[30] = 2;
  Draws draws(logits);
  SamplerInit init;
  init.params.temperature = 0;

  EXPECT_EQ(draws.one(init, 0).id, 20);
  init.params.logit_bias = {{30, 0.5f}};
  EXPECT_EQ(draws.one(init, 0).id, 30);
}

TEST(Sampler, CountsWhatItDraws) {
  std::vector<float> logits(kVocab, 0.0f);
  logits[7] = 1.0f;
  logits[8] = 0.9f;
  logits[9] = 0.5f;
  Draws draws(logits);
  SamplerInit init;
  init.params.temperature = 0;
  init.params.frequency_penalty = 0.3f;
  init.params.min_tokens = 3;
  init.params.stop_ids = {7};

  EXPECT_EQ(draws.one(init, 0).id, 8);  // 7 is masked
  EXPECT_EQ(draws.next(1).id, 8);       // 0.6
  EXPECT_EQ(draws.next(2).id, 9);       // 8 has 0.3 left
  EXPECT_EQ(draws.next(3).id, 7);       // three outputs: no mask any more
  const std::vector<int32_t> outputs{8, 8, 9};
  init.tokens = outputs;
  EXPECT_EQ(draws.one(init, 3).id, 7);  // as a sampler that is told of them
}

TEST(Sampler, LogprobsAreTheModelsOwn) {
  const auto logits = row();
  const auto want = reference::log_probabilities(logits);
  SamplerInit init;
  init.params.temperature = 0;
  init.params.logit_bias = {{4, 100.0f}};
  init.params.num_logprobs = 3;
  Draws draws(logits);

  const TokenChoice choice = draws.one(init, 0);

  EXPECT_EQ(choice.id, 4);
  EXPECT_NEAR(choice.logprob, want[4], 1e-5);
  int32_t greater = 0;
  for (const float x : logits) greater += x > logits[4] ? 1 : 0;
  EXPECT_EQ(choice.rank, greater + 1);
  ASSERT_EQ(choice.top.size(), 3u);
  const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  EXPECT_EQ(choice.top[0].id, best);
  EXPECT_NEAR(choice.top[0].logprob, want[static_cast<size_t>(best)], 1e-5);

  init.params.num_logprobs = kTopLogprobsMax + 1;  // out of a full row
  const TokenChoice many = draws.one(init, 0);
  ASSERT_EQ(many.top.size(), size_t{kTopLogprobsMax} + 1);
  for (size_t i = 0; i < choice.top.size(); ++i) EXPECT_EQ(many.top[i], choice.top[i]);

  init.params.num_logprobs = kAllLogprobs;
  init.params.raw_logits = true;
  const TokenChoice all = draws.one(init, 0);
  ASSERT_EQ(all.top.size(), static_cast<size_t>(kVocab));
  for (int32_t i = 0; i < kVocab; ++i) {
    EXPECT_EQ(all.top[static_cast<size_t>(i)], (TokenLogprob{i, logits[static_cast<size_t>(i)]}));
  }
  init.params.num_logprobs = -1;
  EXPECT_TRUE(draws.one(init, 0).top.empty());
}

// Two shards of 30 columns, two rows, 50 tokens: as all_gather leaves them.
TEST(Sampler, ShardsAreOneRowAndPaddingIsMasked) {
  auto logits = poisoned(2 * 2 * 30);
  const std::vector<std::vector<float>> wanted{row(6), row(7)};
  for (size_t r = 0; r < 2; ++r) {
    for (size_t i = 0; i < kVocab; ++i) logits[(i / 30 * 2 + r) * 30 + i % 30] = wanted[r][i];
  }
  auto ops = cpu_ops(CpuMode::kF32);
  SamplerInit init;
  init.params.temperature = 0;
  init.params.num_logprobs = 0;
  for (const int32_t slot : {0, 3}) ops->set_sampler(slot, init);
  const std::vector<int32_t> rows{1, 0, 0};
  const std::vector<int32_t> slots{3, 0, -1};
  const std::vector<int32_t> positions{9, 5, 0};
  std::vector<DrawResult> out(3, DrawResult{77, 7, 7, 7});
  std::vector<int32_t> last_tokens(4, -7);

  ops->sample({logits.data(), 2, 30, kVocab, 2, rows.data(), slots.data(), positions.data(), 3,
               false, last_tokens.data(), out.data()});
  const std::vector<int32_t> tokens{out[0].id, -1};
  std::vector<DrawResult> scored(2);
  std::vector<TokenLogprob> top(2 * 3);
  ops->score({logits.data(), 2, 30, kVocab, 2, rows.data(), tokens.data(), 2, 2, false,
              scored.data(), top.data(), 3});

  for (size_t i = 0; i < 2; ++i) {
    const auto& want = wanted[static_cast<size_t>(rows[i])];
    const auto best = std::max_element(want.begin(), want.end()) - want.begin();
    EXPECT_EQ(out[i].id, best);
    EXPECT_EQ(out[i].rank, 1);
    EXPECT_EQ(top[3 * i].id, best);
  }
  EXPECT_EQ(scored[0].logprob, out[0].logprob);
  EXPECT_EQ(scored[0].rank, 1);
  EXPECT_EQ(scored[1].rank, 0);
  EXPECT_EQ(last_tokens, (std::vector<int32_t>{out[1].id, -7, -7, out[0].id}));
  EXPECT_EQ(out[2].id, 77);  // padding
}

TEST(Sampler, SaysWhenARowIsNotFinite) {
  for (const float bad :
       {kNan, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    auto logits = row();
    logits[17] = bad;
    const TokenChoice choice = Draws(logits).one({}, 0);
    EXPECT_FALSE(choice.finite);
    EXPECT_EQ(choice.id, -1);
  }
  SamplerInit everything_masked;
  everything_masked.params.min_tokens = 1;
  for (int32_t i = 0; i < kVocab; ++i) everything_masked.params.stop_ids.push_back(i);
  EXPECT_FALSE(Draws(row()).one(everything_masked, 0).finite);
}

}  // namespace
}  // namespace mimo::kernels::test
