#include <array>
#include <random>

#include "tests/kernels/cuda/sampling_case.h"

namespace mimo::kernels::cuda::test {
namespace {

constexpr int32_t kModelVocab = 152576;

size_t words_of(int32_t vocab) { return static_cast<size_t>((vocab + 31) / 32); }
bool allows(const std::vector<uint32_t>& masks, int32_t row, int32_t vocab, int32_t id) {
  const size_t word = static_cast<size_t>(row) * words_of(vocab) + static_cast<size_t>(id / 32);
  return (masks[word] >> (id % 32) & 1) != 0;
}

// Rows of masks that allow about a `part` of the tokens, at least one. Bits past the vocabulary are
// set: nobody may look at them.
std::vector<uint32_t> random_masks(int32_t num_rows, int32_t vocab, double part, uint32_t seed) {
  std::mt19937 random(seed);
  std::bernoulli_distribution allowed(part);
  std::vector<uint32_t> masks(static_cast<size_t>(num_rows) * words_of(vocab), 0);
  for (int32_t row = 0; row < num_rows; ++row) {
    const size_t begin = static_cast<size_t>(row) * words_of(vocab);
    const auto certain = static_cast<int32_t>(random() % static_cast<uint32_t>(vocab));
    for (int32_t id = 0; id < static_cast<int32_t>(words_of(vocab)) * 32; ++id) {
      if (id >= vocab || id == certain || allowed(random)) {
        masks[begin + static_cast<size_t>(id / 32)] |= 1u << (id % 32);
      }
    }
  }
  return masks;
}

// Draw n has a mask unless n % 3 == 0; masks are shared and not in order.
std::vector<int32_t> mixed_rows(int32_t count, int32_t num_masks) {
  std::vector<int32_t> rows;
  for (int32_t n = 0; n < count; ++n) rows.push_back(n % 3 == 0 ? -1 : (n * 5 + 1) % num_masks);
  return rows;
}

void expect_same_bits(const Drawn& a, const Drawn& b, const std::string& what) {
  ASSERT_EQ(a.results.size(), b.results.size());
  for (size_t n = 0; n < a.results.size(); ++n) {
    ASSERT_EQ(a.results[n].id, b.results[n].id) << what << " draw " << n;
    ASSERT_EQ(a.results[n].finite, b.results[n].finite) << what << " draw " << n;
    ASSERT_EQ(a.results[n].logprob, b.results[n].logprob) << what << " draw " << n;
    ASSERT_EQ(a.results[n].rank, b.results[n].rank) << what << " draw " << n;
  }
}

// What the case's slots are set to, on both sides.
template <typename Sampler>
void set_all(Sampler& sampler, int32_t count, const Filter& filter) {
  for (int32_t slot = 0; slot < count; ++slot) {
    SamplerInit init = filter.init(100 + static_cast<uint64_t>(slot));
    init.params.num_logprobs = 0;
    sampler.set(slot, init);
  }
}

TEST(SamplingMaskCuda, NoMaskAndAFullOneChangeNoBit) {
  SKIP_WITHOUT_GPU();
  constexpr int32_t kRows = 12;
  for (const int32_t vocab : {1, 211, 5000, kModelVocab}) {
    for (const int32_t num_shards : {1, 4}) {
      if (num_shards > vocab) continue;
      const Logits logits = random_logits(kRows, vocab, 10, num_shards);
      GpuSampler gpu(logits, kRows);
      for (const Filter& filter : filters()) {
        Draws draws = one_each(kRows, 5);
        set_all(gpu, kRows, filter);
        const Drawn plain = gpu.sample(draws);
        draws.masks.assign(words_of(vocab), ~0u);
        draws.mask_rows.assign(kRows, -1);
        set_all(gpu, kRows, filter);
        expect_same_bits(gpu.sample(draws), plain, filter.name + " without");
        draws.mask_rows.assign(kRows, 0);
        set_all(gpu, kRows, filter);
        expect_same_bits(gpu.sample(draws), plain, filter.name + " full");
      }
    }
  }
}

TEST(SamplingMaskCuda, TheOnlyAllowedTokenIsDrawnAndDescribedAsTheModelSeesIt) {
  SKIP_WITHOUT_GPU();
  constexpr int32_t kRows = 40;
  for (const int32_t vocab : {3, 211, 5000, kModelVocab}) {
    const Logits logits = random_logits(kRows, vocab, 20, vocab > 3 ? 4 : 1);
    std::mt19937 random(21);
    Draws draws = one_each(kRows, 9);
    draws.masks.assign(kRows * words_of(vocab), 0);
    for (int32_t n = 0; n < kRows; ++n) {
      const int32_t edges[] = {0, vocab - 1, vocab / 8, vocab / 8 - 1, vocab / 2};
      const auto any = static_cast<int32_t>(random() % static_cast<uint32_t>(vocab));
      const int32_t id = n < 5 ? std::clamp(edges[n], 0, vocab - 1) : any;
      draws.tokens.push_back(id);
      draws.mask_rows.push_back(kRows - 1 - n);
      draws.masks[static_cast<size_t>(kRows - 1 - n) * words_of(vocab) +
                  static_cast<size_t>(id / 32)] = 1u << (id % 32);
    }
    GpuSampler gpu(logits, kRows);
    draws.num_logprobs = 0;
    const Drawn scored = gpu.score(draws);
    for (const Filter& filter : filters()) {
      if (filter.params.min_tokens > 0) continue;  // would leave nothing of some masks
      set_all(gpu, kRows, filter);
      const Drawn out = gpu.sample(draws);
      ASSERT_EQ(out.last_tokens, draws.tokens) << filter.name << " vocab " << vocab;
      expect_same_bits(out, scored, filter.name + " vocab " + std::to_string(vocab));
    }
  }
}

TEST(SamplingMaskCuda, DrawsAreTheCpusAndNeverOutside) {
  SKIP_WITHOUT_GPU();
  constexpr int32_t kMasks = 7;
  int32_t different = 0;
  for (const double part : {0.002, 0.5}) {
    for (const auto& [vocab, num_shards, count] :
         {std::array{211, 3, 64}, std::array{5000, 4, 64}, std::array{kModelVocab, 4, 12}}) {
      const Logits logits = random_logits(count, vocab, 30, num_shards, 4);
      GpuSampler gpu(logits, count);
      CpuSampler cpu(logits, count);
      Draws draws = one_each(count, 17);
      draws.masks = random_masks(kMasks, vocab, part, 31);
      draws.mask_rows = mixed_rows(count, kMasks);
      for (const Filter& filter : filters()) {
        set_all(gpu, count, filter);
        set_all(cpu, count, filter);
        const Drawn out = gpu.sample(draws);
        const Drawn want = cpu.sample(draws);
        for (int32_t n = 0; n < count; ++n) {
          const auto at = static_cast<size_t>(n);
          const int32_t id = out.results[at].id;
          ASSERT_EQ(out.results[at].finite, want.results[at].finite) << filter.name << " " << n;
          const int32_t row = draws.mask_rows[at];
          if (id >= 0 && row >= 0) {
            ASSERT_TRUE(allows(draws.masks, row, vocab, id)) << filter.name << " " << n;
          }
          different += id == want.results[at].id ? 0 : 1;
          if (filter.name == "greedy") {
            ASSERT_EQ(id, want.results[at].id) << n;
          }
        }
      }
    }
  }
  EXPECT_LE(different, 4);  // of 4480: only where a uniform number falls on an edge
}

TEST(SamplingMaskCuda, NothingAllowedIsSaidAndNeighboursDrawOn) {
  SKIP_WITHOUT_GPU();
  constexpr int32_t kRows = 9;
  const Logits logits = random_logits(kRows, 5000, 40, 2);
  GpuSampler gpu(logits, kRows);
  for (const Filter& filter : filters()) {
    Draws draws = one_each(kRows, 2);
    draws.slots[4] = -1;  // padding
    set_all(gpu, kRows, filter);
    const Drawn plain = gpu.sample(draws);
    draws.masks.assign(words_of(5000), 0);
    draws.mask_rows.assign(kRows, -1);
    draws.mask_rows[3] = draws.mask_rows[8] = 0;
    set_all(gpu, kRows, filter);
    const Drawn out = gpu.sample(draws);
    for (size_t n = 0; n < kRows; ++n) {
      if (n == 4) continue;
      const bool masked = n == 3 || n == 8;
      EXPECT_EQ(out.results[n].id, masked ? -1 : plain.results[n].id) << filter.name << " " << n;
      EXPECT_EQ(out.results[n].finite, masked ? 0 : 1) << filter.name << " " << n;
      EXPECT_EQ(out.last_tokens[n], masked ? -1 : plain.last_tokens[n]) << filter.name << " " << n;
    }
  }
}

TEST(SamplingMaskCuda, RepeatsBitForBit) {
  SKIP_WITHOUT_GPU();
  constexpr int32_t kRows = 24;
  const Logits logits = random_logits(kRows, kModelVocab, 50, 4);
  GpuSampler gpu(logits, kRows);
  Draws draws = one_each(kRows, 12);
  draws.masks = random_masks(5, kModelVocab, 0.01, 51);
  draws.mask_rows = mixed_rows(kRows, 5);
  const Filter filter = filters().back();
  set_all(gpu, kRows, filter);
  const Drawn first = gpu.sample(draws);
  for (int32_t run = 0; run < 100; ++run) {
    set_all(gpu, kRows, filter);
    expect_same_bits(gpu.sample(draws), first, "run " + std::to_string(run));
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
