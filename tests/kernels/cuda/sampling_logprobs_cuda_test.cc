#include "tests/kernels/cuda/sampling_case.h"

namespace mimo::kernels::cuda::test {
namespace {

constexpr int32_t kModelVocab = 152576;

void expect_near(const TokenLogprob& out, const TokenLogprob& want, bool raw_logits) {
  EXPECT_EQ(out.id, want.id);
  if (std::isnan(want.logprob)) {
    EXPECT_TRUE(std::isnan(out.logprob)) << "written where nothing is asked for";
  } else if (raw_logits) {
    EXPECT_EQ(out.logprob, want.logprob);
  } else {
    EXPECT_NEAR(out.logprob, want.logprob, 1e-5);
  }
}

// Log-probabilities to 1e-5, logits to the bit, ids and ranks exactly.
void expect_same(const Drawn& out, const Drawn& want, bool raw_logits) {
  ASSERT_EQ(out.results.size(), want.results.size());
  for (size_t n = 0; n < out.results.size(); ++n) {
    SCOPED_TRACE("draw " + std::to_string(n));
    const DrawResult& one = out.results[n];
    const DrawResult& other = want.results[n];
    ASSERT_EQ(one.finite, other.finite);
    EXPECT_EQ(one.rank, other.rank);
    expect_near({one.id, one.logprob}, {other.id, other.logprob}, raw_logits);
  }
  ASSERT_EQ(out.top.size(), want.top.size());
  for (size_t i = 0; i < out.top.size(); ++i) {
    SCOPED_TRACE("top " + std::to_string(i));
    expect_near(out.top[i], want.top[i], raw_logits);
    if (::testing::Test::HasFailure()) return;
  }
  ASSERT_EQ(out.full.size(), want.full.size());
  for (size_t i = 0; i < out.full.size(); ++i) {
    SCOPED_TRACE("full " + std::to_string(i));
    expect_near({0, out.full[i]}, {0, want.full[i]}, raw_logits);
    if (::testing::Test::HasFailure()) return;
  }
}

struct Asked {
  int32_t num_logprobs = -1;
  bool raw_logits = false;
};
std::vector<Asked> all_asked() {
  std::vector<Asked> out;
  for (const bool raw_logits : {false, true}) {
    for (const int32_t n : {-1, 0, 1, 5, 20, 32, 33, kAllLogprobs}) out.push_back({n, raw_logits});
  }
  return out;
}

// Greedy, so that both draw the same token; bias and penalties make it another than the model's
// best, and must not show in what is said of it.
void expect_draws_described(const Logits& logits, const Asked& asked) {
  SCOPED_TRACE("n " + std::to_string(asked.num_logprobs) + " vocab " +
               std::to_string(logits.vocab));
  const auto num_rows = static_cast<int32_t>(logits.rows.size());
  GpuSampler gpu(logits, num_rows);
  CpuSampler cpu(logits, num_rows);
  const std::vector<int32_t> tokens{1, 0, 5, 5, 9};
  for (int32_t slot = 0; slot < num_rows; ++slot) {
    SamplerInit init;
    init.params.temperature = slot % 2 == 0 ? 0.0f : 0.01f;
    init.params.num_logprobs = asked.num_logprobs;
    init.params.raw_logits = asked.raw_logits;
    if (slot % 3 == 1) {
      init.params.logit_bias = {{logits.vocab / 2, 100.0f}};
      init.params.repetition_penalty = 2;
      init.tokens = tokens;
      init.num_prompt = 2;
    }
    gpu.set(slot, init);
    cpu.set(slot, init);
  }
  Draws draws = one_each(num_rows, 8);
  draws.top_max = kTopLogprobsMax;
  draws.full = true;
  expect_same(gpu.sample(draws), cpu.sample(draws), asked.raw_logits);
}

TEST(SamplingLogprobsCuda, DrawsAreDescribedByTheModelsOwnDistribution) {
  SKIP_WITHOUT_GPU();
  for (const Asked& asked : all_asked()) {
    expect_draws_described(random_logits(6, 211, 10), asked);
    expect_draws_described(random_logits(6, 211, 11, 3, 2), asked);
    expect_draws_described(random_logits(4, 3, 12), asked);
    expect_draws_described(random_logits(4, 5000, 13, 4), asked);
  }
  for (const Asked& asked : {Asked{0, false}, Asked{20, false}, Asked{32, true}}) {
    expect_draws_described(random_logits(4, kModelVocab, 14, 4), asked);
  }
}

void expect_scored(const Logits& logits, const Asked& asked) {
  SCOPED_TRACE("n " + std::to_string(asked.num_logprobs) + " vocab " +
               std::to_string(logits.vocab));
  const auto num_rows = static_cast<int32_t>(logits.rows.size());
  GpuSampler gpu(logits, num_rows);
  CpuSampler cpu(logits, num_rows);
  Draws draws;
  for (int32_t n = 0; n < num_rows * 3; ++n) {
    draws.rows.push_back(n * 7 % num_rows);
    draws.tokens.push_back(n % 4 == 3 ? -1 : n * 991 % logits.vocab);
  }
  draws.tokens[0] = logits.vocab - 1;
  draws.num_logprobs = asked.num_logprobs;
  draws.raw_logits = asked.raw_logits;
  draws.top_max = kTopLogprobsMax;
  draws.full = true;
  expect_same(gpu.score(draws), cpu.score(draws), asked.raw_logits);
}

TEST(SamplingLogprobsCuda, GivenTokensAreScored) {
  SKIP_WITHOUT_GPU();
  for (const Asked& asked : all_asked()) {
    expect_scored(random_logits(5, 211, 20), asked);
    expect_scored(random_logits(5, 211, 21, 2, 9), asked);
    expect_scored(random_logits(3, 2, 22), asked);
    expect_scored(random_logits(3, 5000, 23, 4), asked);
  }
  expect_scored(random_logits(3, kModelVocab, 24, 4), {32, false});
}

// Few values, each many times: ranks and lists go by id among equals.
TEST(SamplingLogprobsCuda, EqualLogitsRankById) {
  SKIP_WITHOUT_GPU();
  std::mt19937 generator(30);
  std::vector<std::vector<float>> rows(4);
  for (auto& row : rows) {
    for (int32_t i = 0; i < 4999; ++i) row.push_back(static_cast<float>(generator() % 5) - 2.0f);
  }
  rows[3].assign(4999, 0.5f);
  for (const Asked& asked : {Asked{0, false}, Asked{32, false}, Asked{7, true}}) {
    expect_scored(cut(rows, 3), asked);
  }
}

TEST(SamplingLogprobsCuda, ARowThatIsNotFiniteHasNoScores) {
  SKIP_WITHOUT_GPU();
  auto rows = random_logits(3, 211, 40).rows;
  rows[1][210] = kNan;
  const Logits logits = cut(rows, 2, 1);
  GpuSampler gpu(logits, 1);
  Draws draws;
  draws.rows = {0, 1, 2};
  draws.tokens = {4, 4, 4};
  draws.num_logprobs = 2;
  draws.top_max = 2;
  const Drawn out = gpu.score(draws);
  EXPECT_EQ(out.results[0].finite, 1);
  EXPECT_EQ(out.results[1].finite, 0);
  EXPECT_EQ(out.results[1].id, 4);
  EXPECT_EQ(out.results[1].rank, 0);
  EXPECT_EQ(out.top[2].id, -1);  // as it was
  EXPECT_EQ(out.results[2].finite, 1);
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
