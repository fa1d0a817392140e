#include "tests/kernels/cuda/sampling_case.h"

namespace mimo::kernels::cuda::test {
namespace {

constexpr int32_t kModelVocab = 152576;

SamplerInit greedy() {
  SamplerInit out;
  out.params.temperature = 0;
  return out;
}

int32_t greatest(const std::vector<float>& row) {
  return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

// Both ways to a greedy token: the one-pass kernel, and the one for any parameters.
void expect_greatest(const Logits& logits) {
  const auto num_rows = static_cast<int32_t>(logits.rows.size());
  GpuSampler gpu(logits, num_rows);
  for (int32_t slot = 0; slot < num_rows; ++slot) gpu.set(slot, greedy());
  for (const bool plain : {true, false}) {
    Draws draws = one_each(num_rows, 3);
    draws.plain_greedy = plain;
    const Drawn out = gpu.sample(draws);
    for (int32_t n = 0; n < num_rows; ++n) {
      const auto at = static_cast<size_t>(n);
      const int32_t want = greatest(logits.rows[at]);
      ASSERT_EQ(out.results[at].id, want) << "row " << n << " vocab " << logits.vocab << " shards "
                                          << logits.num_shards << " plain " << plain;
      ASSERT_EQ(out.results[at].finite, 1) << "row " << n;
      ASSERT_EQ(out.last_tokens[at], want) << "row " << n;
    }
  }
}

TEST(SamplingGreedyCuda, TakesTheGreatestLogit) {
  SKIP_WITHOUT_GPU();
  for (const int32_t vocab : {1, 2, 3, 31, 211, 2047, 2048, 2049, 5003}) {
    for (const int32_t num_shards : {1, 2, 3}) {
      expect_greatest(random_logits(5, vocab, 10, num_shards));
      expect_greatest(random_logits(2, vocab, 11, num_shards, 4));
    }
  }
  for (const int32_t num_rows : {1, 3, 256}) {
    expect_greatest(random_logits(num_rows, num_rows == 256 ? 20000 : kModelVocab, 12, 4));
  }
  expect_greatest(random_logits(2, kModelVocab - 1500, 13, 1, 1500));
}

// The greatest stands twice or at every place; the zeros' signs do not matter.
TEST(SamplingGreedyCuda, TiesGoToTheLowerId) {
  SKIP_WITHOUT_GPU();
  for (const int32_t num_shards : {1, 4}) {
    std::vector<std::vector<float>> rows(4, std::vector<float>(20000, -1.0f));
    rows[0][19999] = rows[0][7001] = 5;
    rows[1][4999] = rows[1][5000] = 5;  // on both sides of a shard's edge
    rows[2][3] = 0.0f;
    rows[2][2] = -0.0f;
    expect_greatest(cut(rows, num_shards));
  }
}

TEST(SamplingGreedyCuda, ManyDrawsOfFewRowsInAnyOrder) {
  SKIP_WITHOUT_GPU();
  constexpr int32_t kDraws = 256;
  const Logits logits = random_logits(7, 3001, 20, 2);
  GpuSampler gpu(logits, kDraws);
  for (const bool plain : {true, false}) {
    Draws draws;
    draws.plain_greedy = plain;
    for (int32_t n = 0; n < kDraws; ++n) {
      gpu.set(n, greedy());
      draws.rows.push_back(n * 5 % 7);
      draws.slots.push_back(kDraws - 1 - n);
      draws.positions.push_back(n);
    }
    const Drawn out = gpu.sample(draws);
    for (int32_t n = 0; n < kDraws; ++n) {
      const int32_t want = greatest(logits.rows[static_cast<size_t>(n * 5 % 7)]);
      ASSERT_EQ(out.results[static_cast<size_t>(n)].id, want) << n;
      ASSERT_EQ(out.last_tokens[static_cast<size_t>(kDraws - 1 - n)], want) << n;
    }
  }
}

TEST(SamplingGreedyCuda, PaddingWritesNothing) {
  SKIP_WITHOUT_GPU();
  const Logits logits = random_logits(6, 211, 30);
  GpuSampler gpu(logits, 6);
  for (int32_t slot = 0; slot < 6; ++slot) gpu.set(slot, greedy());
  for (const bool plain : {true, false}) {
    Draws draws = one_each(6, 0);
    draws.plain_greedy = plain;
    draws.top_max = 2;
    draws.full = true;
    for (const size_t n : {1, 2, 5}) draws.slots[n] = -1;
    const Drawn out = gpu.sample(draws);
    for (const size_t n : {1, 2, 5}) {
      EXPECT_EQ(out.results[n].id, -1) << n;
      EXPECT_EQ(out.results[n].finite, -1) << n;  // as it was
      EXPECT_EQ(out.results[n].rank, -1) << n;
      EXPECT_EQ(out.last_tokens[n], -1) << n;
      EXPECT_EQ(out.top[n * 2].id, -1) << n;
    }
    for (const size_t n : {0, 3, 4}) EXPECT_EQ(out.results[n].id, greatest(logits.rows[n])) << n;
    for (const float x : out.full) EXPECT_TRUE(std::isnan(x));
  }
  Draws none = one_each(6, 0);
  none.slots.assign(6, -1);
  for (const DrawResult& result : gpu.sample(none).results) EXPECT_EQ(result.finite, -1);
  gpu.sample(Draws{});
}

// A row with a NaN or an infinity anywhere is refused, and its neighbours are not.
TEST(SamplingGreedyCuda, ARowThatIsNotFiniteGivesNoToken) {
  SKIP_WITHOUT_GPU();
  const int32_t vocab = 9001;
  Logits logits = random_logits(12, vocab, 40, 2, 3);
  auto rows = logits.rows;
  const float bad[] = {kNan, kInfinity, -kInfinity, -kNan};
  const int32_t places[] = {0, vocab - 1, 4501, 4502, 4500, 17};
  for (size_t n = 0; n < 6; ++n) {
    rows[n * 2][static_cast<size_t>(places[n])] = bad[n % 4];
  }
  logits = cut(rows, 2, 3);
  GpuSampler gpu(logits, 12);
  for (const float temperature : {0.0f, 1.0f}) {
    for (const bool plain : {true, false}) {
      for (int32_t slot = 0; slot < 12; ++slot) {
        SamplerInit init;
        init.params.temperature = temperature;
        gpu.set(slot, init);
      }
      Draws draws = one_each(12, 0);
      draws.plain_greedy = plain;
      const Drawn out = gpu.sample(draws);
      for (size_t n = 0; n < 12; ++n) {
        EXPECT_EQ(out.results[n].finite, n % 2) << n << " plain " << plain;
        EXPECT_EQ(out.results[n].id == -1, n % 2 == 0) << n << " plain " << plain;
        EXPECT_EQ(out.last_tokens[n], out.results[n].id) << n << " plain " << plain;
      }
    }
  }
}

// What cannot be drawn at all: every token masked, or biased away to infinity.
TEST(SamplingGreedyCuda, NothingLeftGivesNoToken) {
  SKIP_WITHOUT_GPU();
  const Logits logits = random_logits(2, 3, 50);
  GpuSampler gpu(logits, 2);
  for (const float temperature : {0.0f, 1.0f}) {
    SamplerInit init;
    init.params.temperature = temperature;
    init.params.min_tokens = 5;
    init.params.stop_ids = {0, 1, 2};
    gpu.set(0, init);
    init.params.stop_ids = {0, 2};
    gpu.set(1, init);
    const Drawn out = gpu.sample(one_each(2, 0));
    EXPECT_EQ(out.results[0].finite, 0);
    EXPECT_EQ(out.last_tokens[0], -1);
    EXPECT_EQ(out.results[1].finite, 1);
    EXPECT_EQ(out.last_tokens[1], 1);
  }
}

TEST(SamplingGreedyCuda, RepeatsBitForBit) {
  SKIP_WITHOUT_GPU();
  const Logits logits = random_logits(16, kModelVocab, 60, 4);
  GpuSampler gpu(logits, 16);
  for (int32_t slot = 0; slot < 16; ++slot) gpu.set(slot, greedy());
  Draws draws = one_each(16, 0);
  draws.plain_greedy = true;
  const auto first = gpu.sample(draws).last_tokens;
  for (int32_t run = 0; run < 1000; ++run) {
    ASSERT_EQ(gpu.sample(draws).last_tokens, first) << "run " << run;
  }
}

TEST(SamplingGreedyCuda, RefusesAVocabularyThatDoesNotFit) {
  SKIP_WITHOUT_GPU();
  const auto context = make_context();
  SamplingOps ops(*context);
  StepLimits limits;
  limits.slots_max = 1;
  limits.vocab_padded = 4'000'000;
  const auto refused = ops.prepare(limits);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("4000000"), std::string::npos);
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
