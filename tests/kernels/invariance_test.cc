#include <cstring>

#include "tests/kernels/kv_case.h"

// A row's bits must not depend on its neighbours, on how a prompt was cut, on the page size, or on
// the number of threads: a sequence alone and in a batch then gives the same tokens.
namespace mimo::kernels::test {
namespace {

constexpr int32_t kRows = 150;  // past a tile of 128
constexpr int32_t kHidden = 200;

std::span<const float> row_of(const std::vector<float>& all, int64_t row, int64_t cols) {
  return std::span<const float>(all).subspan(static_cast<size_t>(row * cols),
                                             static_cast<size_t>(cols));
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// op(x, rows) -> [rows, cols] of all rows at once, and of parts of 1, 2, 7, 13 and 64 rows.
template <typename Op>
void expect_row_independent(const std::vector<float>& x, int64_t in_cols, int64_t out_cols,
                            const Op& op) {
  const std::vector<float> all = op(x, kRows, 0);
  for (const int32_t part : {1, 2, 7, 13, 64}) {
    for (int32_t row = 0; row < kRows; row += part) {
      const int32_t rows = std::min(part, kRows - row);
      const std::vector<float> in(x.begin() + row * in_cols, x.begin() + (row + rows) * in_cols);
      const std::vector<float> out = op(in, rows, row);
      for (int32_t r = 0; r < rows; ++r) {
        ASSERT_TRUE(same_bits(row_of(out, r, out_cols), row_of(all, row + r, out_cols)))
            << "row " << row + r << " of parts of " << part;
      }
    }
  }
}

class Invariance : public ::testing::TestWithParam<std::tuple<CpuMode, DType>> {
 protected:
  CpuMode mode() const { return std::get<0>(GetParam()); }
  DType dtype() const { return std::get<1>(GetParam()); }
  std::vector<float> input() const { return random_floats(kRows * kHidden, 71, mode()); }
};

TEST_P(Invariance, Linear) {
  auto ops = cpu_ops(mode());
  const Linear w = ops->load_linear(random_weight(dtype(), 100, kHidden, 72).view()).value();
  expect_row_independent(input(), kHidden, 100,
                         [&](const std::vector<float>& x, int32_t rows, int32_t) {
                           auto out = poisoned(rows * 100);
                           ops->linear({x.data(), w, out.data(), true, rows});
                           return out;
                         });
}

TEST_P(Invariance, DenseFfn) {
  auto ops = cpu_ops(mode());
  const Linear wide = ops->load_linear(random_weight(dtype(), 300, kHidden, 73).view()).value();
  const Linear down = ops->load_linear(random_weight(dtype(), kHidden, 150, 74).view()).value();
  expect_row_independent(
      input(), kHidden, kHidden, [&](std::vector<float> x, int32_t rows, int32_t) {
        auto out = poisoned(rows * kHidden);
        ops->dense_ffn({{x.data(), nullptr, nullptr, kHidden}, wide, down, out.data(), rows});
        return out;
      });
}

TEST_P(Invariance, RouteAndExperts) {
  auto ops = cpu_ops(mode());
  std::vector<Weight> gate_up;
  std::vector<Weight> down;
  for (uint32_t e = 0; e < 6; ++e) {
    gate_up.push_back(random_weight(dtype(), 80, kHidden, 80 + e));
    down.push_back(random_weight(dtype(), kHidden, 40, 90 + e));
  }
  const ExpertWeights held{0, load_stack(*ops, gate_up), load_stack(*ops, down)};
  const auto router = random_floats(6 * kHidden, 75, CpuMode::kF32);
  const std::vector<float> bias(6, 0.0f);
  expect_row_independent(input(), kHidden, kHidden,
                         [&](std::vector<float> x, int32_t rows, int32_t) {
                           std::vector<int32_t> ids(static_cast<size_t>(rows * 3));
                           auto weights = poisoned(rows * 3);
                           ops->route({x.data(),
                                       router.data(),
                                       bias.data(),
                                       {},
                                       kHidden,
                                       6,
                                       3,
                                       1,
                                       1,
                                       true,
                                       1.0f,
                                       ids.data(),
                                       weights.data(),
                                       rows});
                           auto out = poisoned(rows * kHidden);
                           ops->experts({{x.data(), nullptr, nullptr, kHidden},
                                         &held,
                                         ids.data(),
                                         weights.data(),
                                         3,
                                         out.data(),
                                         rows});
                           return out;
                         });
}

TEST_P(Invariance, AddNorm) {
  auto ops = cpu_ops(mode());
  const auto weight = random_floats(kHidden, 76, CpuMode::kF32);
  expect_row_independent(input(), kHidden, kHidden,
                         [&](std::vector<float> x, int32_t rows, int32_t) {
                           auto out = poisoned(rows * kHidden);
                           const auto delta = x;
                           ops->add_norm({x.data(),
                                          delta.data(),
                                          weight.data(),
                                          {out.data(), nullptr, nullptr, kHidden},
                                          1e-5f,
                                          rows});
                           return out;
                         });
}

INSTANTIATE_TEST_SUITE_P(Modes, Invariance,
                         ::testing::Values(std::tuple{CpuMode::kF32, DType::kBf16},
                                           std::tuple{CpuMode::kF32, DType::kF8E4m3},
                                           std::tuple{CpuMode::kDevice, DType::kBf16},
                                           std::tuple{CpuMode::kDevice, DType::kF8E4m3}));

// A prompt of `context` tokens put through qkv and attention in chunks; other sequences beside it.
struct Prompt {
  int32_t context = 300;
  int32_t chunk = 300;
  int32_t page_tokens = 16;
  int32_t window = 0;
  int32_t neighbours = 0;
  int32_t num_threads = 1;
};

constexpr reference::QkvShape kHeads{6, 2, 24, 40, 8, 10000.0, 0.707};
constexpr int32_t kQkvRows = 8 * 24 + 2 * 40;
constexpr int32_t kOutCols = 6 * 40;

// One step of it.
std::vector<float> step(Ops& ops, Linear qkv, const Prompt& prompt, const std::vector<float>& x,
                        KvCase& kv) {
  auto q = poisoned(int64_t{kv.num_tokens()} * 6 * 24);
  QkvParams p;
  p.x = {const_cast<float*>(x.data()), nullptr, nullptr, 96};
  p.qkv = qkv;
  p.num_q_heads = 6;
  p.rotary_dim = 8;
  p.rope_theta = 10000;
  p.value_scale = 0.707f;
  p.runs = kv.runs();
  p.kv = kv.kv();
  p.q = q.data();
  ops.qkv(p);
  const std::vector<float> sinks{0, 1, 2, -1, 0.5f, 3};
  auto out = poisoned(int64_t{kv.num_tokens()} * kOutCols);
  ops.attention({q.data(), 6, kv.runs(), kv.kv(), prompt.window, sinks.data(), 0.2f, out.data()});
  return out;
}

std::vector<float> run_prompt(const Prompt& prompt, CpuMode mode) {
  auto ops = cpu_ops(mode, prompt.num_threads);
  const Linear qkv = ops->load_linear(random_weight(DType::kBf16, kQkvRows, 96, 77).view()).value();
  const auto x = random_floats(prompt.context * 96, 78, mode);
  const auto other = random_floats(20 * 96, 79, mode);
  const DType cache = ops->cache_dtype();
  std::vector<float> result;
  // One page table for the whole prompt, of which each step sees the first part.
  std::vector<Sequence> sequences{{prompt.context, prompt.context}};
  for (int32_t n = 0; n < prompt.neighbours; ++n) sequences.push_back({20 + n, 20});
  KvCase whole({kHeads, prompt.page_tokens, cache, cache}, sequences, 0, 7);
  for (int32_t at = 0; at < prompt.context; at += prompt.chunk) {
    const int32_t rows = std::min(prompt.chunk, prompt.context - at);
    sequences[0] = {at + rows, rows};
    KvCase now = whole.with(sequences);
    std::vector<float> in(x.begin() + at * 96, x.begin() + (at + rows) * 96);
    for (int32_t n = 0; n < prompt.neighbours; ++n) in.insert(in.end(), other.begin(), other.end());
    const auto out = step(*ops, qkv, prompt, in, now);
    result.insert(result.end(), out.begin(), out.begin() + int64_t{rows} * kOutCols);
    whole.take_pools(now);
  }
  return result;
}

TEST(AttentionInvariance, ChunksPagesNeighboursAndThreadsChangeNothing) {
  for (const CpuMode mode : kModes) {
    for (const int32_t window : {0, 5, 128}) {
      const auto want = run_prompt({.window = window}, mode);
      const Prompt others[] = {
          {.chunk = 1, .window = window},
          {.chunk = 7, .window = window, .neighbours = 2},
          {.chunk = 64, .page_tokens = 64, .window = window, .neighbours = 1},
          {.chunk = 128, .page_tokens = 128, .window = window, .num_threads = 3},
          {.page_tokens = 48, .window = window, .neighbours = 3, .num_threads = 2}};
      for (const Prompt& prompt : others) {
        EXPECT_TRUE(same_bits(run_prompt(prompt, mode), want))
            << mode_name(mode) << " chunk " << prompt.chunk << " window " << window;
      }
    }
  }
}

}  // namespace
}  // namespace mimo::kernels::test
