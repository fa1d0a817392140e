#include <numeric>

#include "kernels/philox.h"
#include "tests/kernels/cuda/sampling_case.h"

namespace mimo::kernels::cuda::test {
namespace {

constexpr int32_t kModelVocab = 152576;

// Both backends sum weights that differ in the last bits of exp(), so they may part where the
// uniform number falls on an edge between two tokens; nowhere else.
bool lies_on_an_edge(std::span<const float> row, const SamplerInit& init, int32_t position,
                     int32_t one, int32_t other) {
  const auto p = reference::distribution(row, init);
  const double uniform = philox_uniform(init.params.seed, static_cast<uint64_t>(position));
  const auto low = std::min(one, other);
  const auto high = std::max(one, other);
  if (low < 0 || high >= static_cast<int32_t>(p.size())) return false;
  const double below = std::accumulate(p.begin(), p.begin() + low + 1, 0.0);
  const double between = std::accumulate(p.begin() + low + 1, p.begin() + high, 0.0);
  return std::fabs(uniform - below) < 1e-4 && between < 1e-4;
}

// How many draws differ; each difference is explained.
int32_t num_different(const Logits& logits, const Filter& filter, uint64_t seed) {
  const auto num_rows = static_cast<int32_t>(logits.rows.size());
  GpuSampler gpu(logits, num_rows);
  CpuSampler cpu(logits, num_rows);
  for (int32_t slot = 0; slot < num_rows; ++slot) {
    gpu.set(slot, filter.init(seed + static_cast<uint64_t>(slot)));
    cpu.set(slot, filter.init(seed + static_cast<uint64_t>(slot)));
  }
  const int32_t position = 40;
  const Drawn out = gpu.sample(one_each(num_rows, position));
  const Drawn want = cpu.sample(one_each(num_rows, position));
  int32_t different = 0;
  for (int32_t n = 0; n < num_rows; ++n) {
    const auto at = static_cast<size_t>(n);
    const int32_t id = out.results[at].id;
    EXPECT_EQ(out.results[at].finite, want.results[at].finite) << filter.name << " row " << n;
    EXPECT_EQ(out.last_tokens[at], id) << filter.name << " row " << n;
    if (id == want.results[at].id) continue;
    ++different;
    EXPECT_TRUE(
        lies_on_an_edge(logits.rows[at], filter.init(seed + at), position, id, want.results[at].id))
        << filter.name << " vocab " << logits.vocab << " row " << n << ": " << id << ", not "
        << want.results[at].id;
  }
  return different;
}

TEST(SamplingCuda, DrawsAreTheCpusAtSmallVocabularies) {
  SKIP_WITHOUT_GPU();
  int32_t different = 0;
  for (const Filter& filter : filters()) {
    different += num_different(random_logits(3, 1, 20), filter, 1);
    different += num_different(random_logits(16, 2, 21, 2), filter, 2);
    different += num_different(random_logits(64, 211, 22), filter, 3);
    different += num_different(random_logits(64, 211, 23, 3, 5), filter, 4);
    different += num_different(random_logits(64, 5000, 24, 4, 6), filter, 5);
  }
  EXPECT_LE(different, 3);  // of 3376: a thousandth
}

// Few rows of a small vocabulary, each with a filter of its own.
TEST(SamplingCuda, EveryFilterInOneCall) {
  SKIP_WITHOUT_GPU();
  const auto all = filters();
  const auto num_rows = static_cast<int32_t>(all.size());
  const Logits logits = random_logits(num_rows, 211, 25, 2);
  GpuSampler gpu(logits, num_rows);
  CpuSampler cpu(logits, num_rows);
  for (int32_t slot = 0; slot < num_rows; ++slot) {
    const SamplerInit init = all[static_cast<size_t>(slot)].init(7);
    gpu.set(slot, init);
    cpu.set(slot, init);
  }
  EXPECT_EQ(gpu.sample(one_each(num_rows, 3)).last_tokens,
            cpu.sample(one_each(num_rows, 3)).last_tokens);
}

TEST(SamplingCuda, DrawsAreTheCpusAtTheModelsVocabulary) {
  SKIP_WITHOUT_GPU();
  int32_t different = 0;
  for (const Filter& filter : filters()) {
    different += num_different(random_logits(6, kModelVocab, 30, 4), filter, 6);
    different += num_different(random_logits(2, kModelVocab - 1024, 31, 1, 1024), filter, 7);
  }
  EXPECT_LE(different, 1);
}

// 5,120 draws: chi-square below 5.5 standard deviations of its own, nothing outside drawn.
TEST(SamplingCuda, DrawsFollowTheReferenceDistribution) {
  SKIP_WITHOUT_GPU();
  constexpr int32_t kSlots = 256;
  constexpr int32_t kCalls = 20;
  const Logits logits = random_logits(1, 211, 40, 2, 3);
  for (const Filter& filter : filters()) {
    GpuSampler gpu(logits, kSlots);
    std::vector<int32_t> counts(211, 0);
    for (int32_t call = 0; call < kCalls; ++call) {
      Draws draws = one_each(kSlots, 0);
      for (int32_t slot = 0; slot < kSlots; ++slot) {
        gpu.set(slot, filter.init(77));
        draws.rows[static_cast<size_t>(slot)] = 0;
        draws.positions[static_cast<size_t>(slot)] = call * kSlots + slot;
      }
      for (const DrawResult& result : gpu.sample(draws).results) {
        ASSERT_TRUE(result.id >= 0 && result.id < 211) << filter.name << " " << result.id;
        ++counts[static_cast<size_t>(result.id)];
      }
    }
    const auto want = reference::distribution(logits.rows[0], filter.init(77));
    double chi_square = 0;
    double freedom = -1;
    for (size_t i = 0; i < counts.size(); ++i) {
      const double expected = want[i] * kSlots * kCalls;
      EXPECT_TRUE(want[i] > 0 || counts[i] == 0) << filter.name << " token " << i;
      if (expected < 5) continue;
      chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
      freedom += 1;
    }
    EXPECT_LT(chi_square, freedom + 5.5 * std::sqrt(2 * freedom + 1)) << filter.name;
  }
}

// With equal logits every kept token comes up: `kept` of them, the lowest ids.
TEST(SamplingCuda, TiesAtAnEdgeLeaveTheLowerIds) {
  SKIP_WITHOUT_GPU();
  constexpr int32_t kSlots = 256;
  std::vector<float> row(211, 1.5f);
  row[100] = 1.75f;
  const Logits logits = cut({row}, 1);
  const auto expect_kept = [&](auto change, const std::vector<int32_t>& kept) {
    SamplerInit init;
    init.params.temperature = 1000;  // next to no difference, except to the ranks
    change(init.params);
    GpuSampler gpu(logits, kSlots);
    std::vector<bool> drawn(211, false);
    for (int32_t call = 0; call < 20; ++call) {
      Draws draws = one_each(kSlots, 0);
      for (int32_t slot = 0; slot < kSlots; ++slot) {
        gpu.set(slot, init);
        draws.rows[static_cast<size_t>(slot)] = 0;
        draws.positions[static_cast<size_t>(slot)] = call * kSlots + slot;
      }
      for (const DrawResult& result : gpu.sample(draws).results) {
        drawn.at(static_cast<size_t>(result.id)) = true;
      }
    }
    for (int32_t id = 0; id < 211; ++id) {
      const bool inside = std::find(kept.begin(), kept.end(), id) != kept.end();
      EXPECT_EQ(drawn[static_cast<size_t>(id)], inside) << "token " << id;
    }
  };
  expect_kept([](SamplingParams& p) { p.top_k = 7; }, {0, 1, 2, 3, 4, 5, 100});
  std::vector<int32_t> half(106);  // half of 210.95: token 100's 1 and 105 times 0.99975
  std::iota(half.begin(), half.end(), 0);
  expect_kept([](SamplingParams& p) { p.top_p = 0.5f; }, half);
  expect_kept([](SamplingParams& p) { p.min_p = 1.0f; }, {100});
}

TEST(SamplingCuda, CountsWhatItDraws) {
  SKIP_WITHOUT_GPU();
  const Logits logits = random_logits(16, 300, 50);
  for (const float temperature : {0.0f, 0.8f}) {
    GpuSampler gpu(logits, 16);
    CpuSampler cpu(logits, 16);
    const std::vector<int32_t> tokens{5, 6, 7, 7};
    SamplerInit init;
    init.params.temperature = temperature;
    init.params.repetition_penalty = 1.1f;
    init.params.frequency_penalty = 0.7f;
    init.params.presence_penalty = 0.2f;
    init.params.min_tokens = 20;
    init.params.stop_ids = {1, 50, 120};
    init.tokens = tokens;
    init.num_prompt = 3;
    for (int32_t slot = 0; slot < 16; ++slot) {
      init.params.seed = static_cast<uint64_t>(slot);
      gpu.set(slot, init);
      cpu.set(slot, init);
    }
    for (int32_t step = 0; step < 40; ++step) {
      const Drawn out = gpu.sample(one_each(16, step));
      const Drawn want = cpu.sample(one_each(16, step));
      ASSERT_EQ(out.last_tokens, want.last_tokens) << "step " << step << " at " << temperature;
    }
  }
}

// More tokens than one launch carries, the prompt's end inside a piece.
TEST(SamplingCuda, CountsLongSequences) {
  SKIP_WITHOUT_GPU();
  const Logits logits = random_logits(16, 5000, 60);
  GpuSampler gpu(logits, 16);
  CpuSampler cpu(logits, 16);
  std::mt19937 generator(61);
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 20000; ++i) {
    tokens.push_back(static_cast<int32_t>(generator() % 4000));
  }
  for (int32_t slot = 0; slot < 16; ++slot) {
    SamplerInit init;
    init.params.temperature = slot % 2 == 0 ? 0.0f : 1.0f;
    init.params.repetition_penalty = 1.3f;
    init.params.frequency_penalty = 0.11f;
    init.params.presence_penalty = 0.2f;
    init.tokens = std::span<const int32_t>(tokens).first(static_cast<size_t>(20000 - slot * 1000));
    init.num_prompt = slot * 300;
    gpu.set(slot, init);
    cpu.set(slot, init);
  }
  EXPECT_EQ(gpu.sample(one_each(16, 3)).last_tokens, cpu.sample(one_each(16, 3)).last_tokens);
}

TEST(SamplingCuda, ASamplerReplacesTheOneBeforeInTheStreamsOrder) {
  SKIP_WITHOUT_GPU();
  const Logits logits = random_logits(1, 211, 70);
  GpuSampler gpu(logits, 1);
  const Draws draws = one_each(1, 0);
  std::vector<SampleParams> queued;
  for (int32_t i = 0; i <= 100; ++i) queued.push_back(gpu.params_of(draws));
  for (int32_t id = 0; id < 100; ++id) {
    SamplerInit init;
    init.params.temperature = 0;
    init.params.logit_bias = {{id, 100.0f}};
    if (id % 3 == 0) init.params.presence_penalty = 1;
    gpu.set(0, init);
    gpu.queue(queued[static_cast<size_t>(id)]);
  }
  gpu.clear(0);
  gpu.queue(queued.back());
  for (int32_t id = 0; id < 100; ++id) {
    EXPECT_EQ(gpu.read(queued[static_cast<size_t>(id)]).results[0].id, id);
  }
  EXPECT_EQ(gpu.read(queued.back()).results[0].finite, 0);  // no sampler any more
}

TEST(SamplingCuda, TakesAsManyIdsAsTheCoordinatorLetsThrough) {
  SKIP_WITHOUT_GPU();
  std::vector<float> row(2000, 0.0f);
  const Logits logits = cut({row}, 1);
  GpuSampler gpu(logits, 1);
  SamplerInit init;
  init.params.temperature = 0;
  init.params.min_tokens = 1;
  for (int32_t id = 0; id < kStopIdsMax; ++id) init.params.stop_ids.push_back(id);
  for (int32_t id = 0; id < kBiasedIdsMax; ++id) init.params.logit_bias.push_back({id, -1.0f});
  gpu.set(0, init);
  EXPECT_EQ(gpu.sample(one_each(1, 0)).results[0].id, kBiasedIdsMax);
  init.params.logit_bias.assign(1, {kStopIdsMax - 1, 5.0f});
  gpu.set(0, init);
  EXPECT_EQ(gpu.sample(one_each(1, 0)).results[0].id, kStopIdsMax);
  EXPECT_EQ(gpu.sample(one_each(1, 1)).results[0].id, kStopIdsMax - 1);  // an output is there
}

// What one call's neighbours are does not matter, and a repeat has the same bits.
TEST(SamplingCuda, RepeatsBitForBitAloneAndTogether) {
  SKIP_WITHOUT_GPU();
  constexpr int32_t kRows = 24;
  const Logits logits = random_logits(kRows, kModelVocab, 80, 4);
  const auto all = filters();
  GpuSampler gpu(logits, kRows);
  const auto set_all = [&] {
    for (int32_t slot = 0; slot < kRows; ++slot) {
      SamplerInit init = all[static_cast<size_t>(slot) % all.size()].init(9);
      init.params.num_logprobs = 5;
      gpu.set(slot, init);
    }
  };
  Draws draws = one_each(kRows, 12);
  draws.top_max = 5;
  set_all();
  const Drawn first = gpu.sample(draws);
  for (int32_t run = 0; run < 1000; ++run) {
    set_all();
    const Drawn again = gpu.sample(draws);
    ASSERT_EQ(again.last_tokens, first.last_tokens) << "run " << run;
    for (size_t i = 0; i < first.results.size(); ++i) {
      ASSERT_EQ(again.results[i].logprob, first.results[i].logprob) << "run " << run;
      ASSERT_EQ(again.results[i].rank, first.results[i].rank) << "run " << run;
    }
    ASSERT_EQ(again.top, first.top) << "run " << run;
  }
  set_all();
  for (int32_t n = 0; n < kRows; ++n) {
    Draws alone;
    alone.rows = {n};
    alone.slots = {n};
    alone.positions = {12};
    EXPECT_EQ(gpu.sample(alone).results[0].id, first.results[static_cast<size_t>(n)].id) << n;
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
