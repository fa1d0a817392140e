#include "tests/kernels/kv_case.h"

namespace mimo::kernels::test {
namespace {

struct AttentionCase {
  const char* name;
  KvShape shape;
  std::vector<Sequence> sequences;
  int32_t window = 0;
  bool sinks = false;
};

std::ostream& operator<<(std::ostream& out, const AttentionCase& c) { return out << c.name; }

reference::QkvShape heads(int32_t q, int32_t kv, int32_t k_dim, int32_t v_dim) {
  return {q, kv, k_dim, v_dim, k_dim / 4 * 2, 10000.0, 0.707};
}

class AttentionOp : public ::testing::TestWithParam<AttentionCase> {};

TEST_P(AttentionOp, MatchesTheReferenceInBothModes) {
  const AttentionCase& c = GetParam();
  const auto& h = c.shape.heads;
  for (const CpuMode mode : kModes) {
    SCOPED_TRACE(mode_name(mode));
    auto ops = cpu_ops(mode);
    KvCase kv(c.shape, c.sequences, c.window, 5);
    std::vector<KvCase::Dense> dense;
    for (size_t s = 0; s < c.sequences.size(); ++s) {
      dense.push_back(kv.fill(s, 50 + static_cast<uint32_t>(s)));
    }
    const int64_t q_cols = int64_t{h.num_q_heads} * h.k_dim;
    const int64_t out_cols = int64_t{h.num_q_heads} * h.v_dim;
    const auto q = random_floats(kv.num_tokens() * q_cols, 51, mode);
    const auto sinks = random_floats(h.num_q_heads, 52, CpuMode::kF32, 3.0f);
    const float scale = 1.0f / std::sqrt(static_cast<float>(h.k_dim));
    auto out = poisoned(kv.num_tokens() * out_cols);

    ops->attention({q.data(), h.num_q_heads, kv.runs(), kv.kv(), c.window,
                    c.sinks ? sinks.data() : nullptr, scale, out.data()});

    int64_t row = 0;
    for (size_t s = 0; s < c.sequences.size(); ++s) {
      const int64_t rows = c.sequences[s].rows;
      const auto part = [&](std::span<const float> all, int64_t cols) {
        return all.subspan(static_cast<size_t>(row * cols), static_cast<size_t>(rows * cols));
      };
      if (kv.is_padding(s)) {
        for (const float x : part(out, out_cols)) ASSERT_EQ(x, 0.0f) << "sequence " << s;
        row += rows;
        continue;
      }
      const auto want = reference::attention(
          reference::matrix(part(q, q_cols), rows, q_cols), dense[s].k, dense[s].v, h,
          kv.positions(s), c.window, c.sinks ? sinks : std::span<const float>{}, scale, mode);
      EXPECT_LT(relative_error(part(out, out_cols), want), tolerance(mode)) << "sequence " << s;
      row += rows;
    }
  }
}

constexpr DType kF = DType::kF32;
constexpr DType kB = DType::kBf16;

INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionOp,
    ::testing::Values(
        AttentionCase{"empty", {heads(2, 1, 24, 40), 16, kF, kF}, {}},
        AttentionCase{"first_token", {heads(4, 2, 24, 40), 16, kF, kF}, {{1, 1}}},
        AttentionCase{"padding",
                      {heads(4, 2, 24, 40), 16, kF, kF},
                      {{0, 1}, {20, 2}, {0, 3}, {1, 1}, {0, 1}},
                      7,
                      true},
        AttentionCase{"page_edges",
                      {heads(4, 2, 24, 40), 16, kF, kB},
                      {{15, 1}, {16, 1}, {17, 1}, {31, 2}, {32, 32}, {33, 5}}},
        AttentionCase{"gqa_16_real_heads",
                      {heads(16, 1, 192, 128), 64, kB, kB},
                      {{200, 3}, {64, 64}, {65, 1}}},
        AttentionCase{"mixed_dtypes", {heads(3, 3, 32, 16), 32, kB, kF}, {{129, 129}, {300, 1}}},
        AttentionCase{"block_edges",
                      {heads(2, 1, 16, 16), 128, kF, kF},
                      {{127, 3}, {128, 2}, {129, 130 - 1}, {256, 1}, {257, 1}}},
        AttentionCase{"window_128_edges",
                      {heads(8, 1, 192, 128), 64, kF, kF},
                      {{126, 1}, {127, 1}, {128, 1}, {129, 1}, {130, 4}, {300, 150}, {1000, 1}},
                      128,
                      true},
        AttentionCase{"window_1", {heads(2, 2, 8, 24), 16, kF, kF}, {{40, 3}, {1, 1}}, 1, true},
        AttentionCase{"window_5_small_pages",
                      {heads(4, 4, 40, 24), 16, kB, kB},
                      {{5, 5}, {6, 1}, {90, 70}},
                      5,
                      false},
        AttentionCase{
            "window_129", {heads(2, 1, 16, 8), 16, kF, kF}, {{400, 20}, {130, 1}}, 129, true},
        AttentionCase{"sinks_full", {heads(6, 2, 24, 16), 16, kF, kF}, {{70, 10}}, 0, true}),
    [](const auto& info) { return std::string(info.param.name); });

struct QkvCase {
  const char* name;
  KvShape shape;
  DType weight;
  int32_t hidden;
  int32_t rotary_dim;
  std::vector<Sequence> sequences;
};

std::ostream& operator<<(std::ostream& out, const QkvCase& c) { return out << c.name; }

class QkvOp : public ::testing::TestWithParam<QkvCase> {};

// Stores what the reference says, at the right places, and nothing else.
void expect_cache(const KvCase& kv, const QkvCase& c, const reference::Qkv& want) {
  const auto& h = c.shape.heads;
  const double k_tolerance = c.shape.k_dtype == kF ? 2e-5 : 2e-2;  // half a bf16 step near 4
  const double v_tolerance = c.shape.v_dtype == kF ? 2e-5 : 2e-2;
  int64_t row = 0;
  int64_t written = 0;
  for (size_t s = 0; s < c.sequences.size(); ++s) {
    for (const int32_t j : kv.positions(s)) {
      if (kv.is_padding(s)) {
        ++row;
        continue;
      }
      ++written;
      for (int32_t head = 0; head < h.kv_heads; ++head) {
        for (int32_t d = 0; d < h.k_dim; ++d) {
          ASSERT_NEAR(kv.k_at(s, j, head, d), want.k.at(row, head * h.k_dim + d), k_tolerance);
        }
        for (int32_t d = 0; d < h.v_dim; ++d) {
          ASSERT_NEAR(kv.v_at(s, j, head, d), want.v.at(row, head * h.v_dim + d), v_tolerance);
        }
      }
      ++row;
    }
  }
  EXPECT_EQ(kv.num_written(), written * h.kv_heads * h.k_dim);
}

TEST_P(QkvOp, MatchesTheReferenceInBothModes) {
  const QkvCase& c = GetParam();
  auto h = c.shape.heads;
  h.rotary_dim = c.rotary_dim;
  const int64_t rows = int64_t{h.num_q_heads + h.kv_heads} * h.k_dim + h.kv_heads * h.v_dim;
  const Weight w = random_weight(c.weight, rows, c.hidden, 61, 64);
  for (const CpuMode mode : kModes) {
    SCOPED_TRACE(mode_name(mode));
    auto ops = cpu_ops(mode);
    KvCase kv(c.shape, c.sequences, 0, 6);
    const auto x = random_floats(int64_t{kv.num_tokens()} * c.hidden, 62, mode);
    auto q = poisoned(int64_t{kv.num_tokens()} * h.num_q_heads * h.k_dim);
    QkvParams p;
    p.x = {const_cast<float*>(x.data()), nullptr, nullptr, c.hidden};
    p.qkv = ops->load_linear(w.view()).value();
    p.num_q_heads = h.num_q_heads;
    p.rotary_dim = c.rotary_dim;
    p.rope_theta = h.rope_theta;
    p.value_scale = static_cast<float>(h.value_scale);
    p.runs = kv.runs();
    p.kv = kv.kv();
    p.q = q.data();

    ops->qkv(p);

    const auto want = reference::qkv(reference::matrix(x, kv.num_tokens(), c.hidden), w.view(), h,
                                     kv.all_positions(), mode);
    const int64_t q_cols = int64_t{h.num_q_heads} * h.k_dim;
    for (int64_t i = 0; i < kv.num_tokens() * q_cols; ++i) {
      const auto run = static_cast<size_t>(kv.row_run()[static_cast<size_t>(i / q_cols)]);
      if (kv.is_padding(run)) q[i] = static_cast<float>(want.q.data[i]);
    }
    EXPECT_LT(relative_error(q, want.q), tolerance(mode));
    expect_cache(kv, c, want);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, QkvOp,
    ::testing::Values(
        QkvCase{"empty", {heads(2, 1, 24, 40), 16, kF, kF}, kB, 96, 8, {}},
        QkvCase{"small", {heads(4, 2, 24, 40), 16, kF, kF}, kB, 96, 8, {{1, 1}, {17, 3}, {33, 1}}},
        QkvCase{"padding", {heads(2, 1, 24, 16), 16, kF, kF}, kB, 96, 8, {{0, 2}, {17, 3}, {0, 1}}},
        QkvCase{"no_rotation", {heads(2, 1, 24, 16), 16, kF, kB}, kB, 96, 0, {{20, 4}}},
        QkvCase{"all_rotated", {heads(2, 2, 16, 16), 32, kB, kF}, kF, 64, 16, {{70, 40}}},
        QkvCase{"real_heads_fp8",
                {heads(8, 1, 192, 128), 64, kB, kB},
                DType::kF8E4m3,
                256,
                64,
                {{65, 2}, {3000, 1}}},
        QkvCase{"far", {heads(2, 1, 64, 16), 128, kF, kF}, kB, 96, 64, {{40000, 2}}}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace mimo::kernels::test
