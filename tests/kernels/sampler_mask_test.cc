#include <numeric>

#include "tests/kernels/support.h"

namespace mimo::kernels::test {
namespace {

constexpr int32_t kVocab = 70;  // two words and a part of a third

std::vector<uint32_t> mask_of(const std::vector<int32_t>& allowed) {
  std::vector<uint32_t> mask((kVocab + 31) / 32, 0);
  for (const int32_t id : allowed) mask[static_cast<size_t>(id / 32)] |= 1u << (id % 32);
  return mask;
}

// Draws from rows of logits cut into shards, one slot a row.
class Draws {
 public:
  Draws(int32_t num_rows, int32_t num_shards) : num_shards_(num_shards) {
    shard_cols_ = (kVocab + num_shards - 1) / num_shards;
    logits_ = poisoned(int64_t{num_shards} * num_rows * shard_cols_);
    for (int32_t r = 0; r < num_rows; ++r) {
      rows_.push_back(random_floats(kVocab, 90 + static_cast<uint32_t>(r), CpuMode::kF32, 2.0f));
      for (int32_t i = 0; i < kVocab; ++i) {
        logits_[static_cast<size_t>((i / shard_cols_ * num_rows + r) * shard_cols_ +
                                    i % shard_cols_)] = rows_.back()[static_cast<size_t>(i)];
      }
    }
  }

  const std::vector<float>& row(size_t r) const { return rows_[r]; }
  void set(int32_t slot, const SamplerInit& init) { ops_->set_sampler(slot, init); }
  std::vector<DrawResult> sample(const std::vector<std::vector<uint32_t>>& masks,
                                 const std::vector<int32_t>& mask_rows, int32_t position = 3) {
    std::vector<uint32_t> words;
    for (const auto& mask : masks) words.insert(words.end(), mask.begin(), mask.end());
    std::vector<int32_t> all(rows_.size());
    std::iota(all.begin(), all.end(), 0);
    const std::vector<int32_t> positions(rows_.size(), position);
    std::vector<DrawResult> out(rows_.size());
    SampleParams p;
    p.logits = logits_.data();
    p.num_shards = num_shards_;
    p.shard_cols = shard_cols_;
    p.vocab_limit = kVocab;
    p.num_rows = p.num_draws = static_cast<int32_t>(rows_.size());
    p.rows = p.slots = all.data();
    p.positions = positions.data();
    p.results = out.data();
    p.masks = words.data();
    p.mask_rows = mask_rows.empty() ? nullptr : mask_rows.data();
    ops_->sample(p);
    return out;
  }

 private:
  std::unique_ptr<Ops> ops_ = cpu_ops(CpuMode::kF32, 2);
  int32_t num_shards_ = 1;
  int32_t shard_cols_ = 0;
  std::vector<std::vector<float>> rows_;
  std::vector<float> logits_;
};

SamplerInit init_of(float temperature, uint64_t seed) {
  SamplerInit init;
  init.params.temperature = temperature;
  init.params.seed = seed;
  init.params.num_logprobs = 0;
  return init;
}

void expect_same(const DrawResult& a, const DrawResult& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.finite, b.finite);
  EXPECT_EQ(a.logprob, b.logprob);
  EXPECT_EQ(a.rank, b.rank);
}

TEST(SamplerMask, NoMaskAndAFullOneChangeNoBit) {
  std::vector<int32_t> everything(kVocab);
  std::iota(everything.begin(), everything.end(), 0);
  for (const float temperature : {0.0f, 0.9f}) {
    for (const int32_t num_shards : {1, 2, 3}) {
      Draws draws(6, num_shards);
      for (int32_t slot = 0; slot < 6; ++slot) draws.set(slot, init_of(temperature, 7));
      const auto plain = draws.sample({}, {});
      for (int32_t slot = 0; slot < 6; ++slot) draws.set(slot, init_of(temperature, 7));
      const auto masked = draws.sample({mask_of(everything)}, {-1, 0, -1, 0, 0, -1});

      for (size_t i = 0; i < 6; ++i) expect_same(masked[i], plain[i]);
    }
  }
}

TEST(SamplerMask, TheOnlyAllowedTokenIsDrawnWhateverElseIsAsked) {
  for (const float temperature : {0.0f, 0.01f, 1.5f}) {
    for (int32_t id = 0; id < kVocab; ++id) {
      Draws draws(1, 2);
      SamplerInit init = init_of(temperature, 11);
      init.params.top_k = 2;
      init.params.top_p = 0.5f;
      init.params.min_p = 0.1f;
      init.params.repetition_penalty = 1.5f;
      init.params.logit_bias = {{(id + 1) % kVocab, 100.0f}};
      draws.set(0, init);

      const DrawResult result = draws.sample({mask_of({0}), mask_of({id})}, {1})[0];

      ASSERT_EQ(result.id, id);
      const auto& row = draws.row(0);
      const float own = row[static_cast<size_t>(id)];
      const auto greater = std::count_if(row.begin(), row.end(), [&](float x) { return x > own; });
      EXPECT_EQ(result.rank, greater + 1);  // among all tokens, as the model sees them
      EXPECT_NEAR(result.logprob, reference::log_probabilities(row)[static_cast<size_t>(id)], 1e-5);
    }
  }
}

// Chi-square below 5.5 standard deviations of its own; nothing outside the mask.
TEST(SamplerMask, DrawsFollowTheReferenceDistributionOfWhatIsAllowed) {
  constexpr int32_t kDraws = 5000;
  const auto mask = mask_of({1, 2, 5, 31, 32, 33, 40, 63, 64, 69});
  for (const int32_t top_k : {0, 4, 30}) {
    Draws draws(1, 1);
    SamplerInit init = init_of(1.5f, 5);
    init.params.top_k = top_k;
    init.params.top_p = 0.95f;
    const auto want = reference::distribution(draws.row(0), init, mask);
    std::vector<int32_t> counts(kVocab, 0);
    for (int32_t position = 0; position < kDraws; ++position) {
      draws.set(0, init);
      ++counts[static_cast<size_t>(draws.sample({mask}, {0}, position)[0].id)];
    }
    double chi_square = 0;
    double freedom = -1;
    for (size_t i = 0; i < counts.size(); ++i) {
      const double expected = want[i] * kDraws;
      EXPECT_TRUE(want[i] > 0 || counts[i] == 0) << "token " << i;
      if (expected < 5) continue;
      chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
      freedom += 1;
    }
    EXPECT_LT(chi_square, freedom + 5.5 * std::sqrt(2 * freedom + 1)) << "top_k " << top_k;
  }
}

TEST(SamplerMask, NothingAllowedIsSaidAndNeighboursDrawOn) {
  Draws draws(3, 2);
  for (int32_t slot = 0; slot < 3; ++slot) draws.set(slot, init_of(0.9f, 3));
  const auto plain = draws.sample({}, {});
  for (int32_t slot = 0; slot < 3; ++slot) draws.set(slot, init_of(0.9f, 3));

  const auto masked = draws.sample({mask_of({})}, {-1, 0, -1});

  expect_same(masked[0], plain[0]);
  expect_same(masked[2], plain[2]);
  EXPECT_EQ(masked[1].finite, 0);
  EXPECT_EQ(masked[1].id, -1);
}

}  // namespace
}  // namespace mimo::kernels::test
