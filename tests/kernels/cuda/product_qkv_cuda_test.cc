#include <ostream>

#include "tests/kernels/cuda/product_support.h"
#include "tests/kernels/kv_case.h"

namespace mimo::kernels::cuda::test {
namespace {

using mimo::kernels::test::KvCase;
using mimo::kernels::test::KvShape;
using mimo::kernels::test::Sequence;

constexpr double kRounded = 3e-3;
constexpr int32_t kPageTokens = 16;

struct Shape {
  DType dtype;
  int32_t q_heads;
  int32_t kv_heads;
  int32_t k_dim;
  int32_t v_dim;
  int32_t rotary_dim;
  int32_t hidden;
  int32_t rows_per_scale = 128;
};
std::ostream& operator<<(std::ostream& out, const Shape& s) {
  return out << dtype_name(s.dtype) << " heads " << s.q_heads << "/" << s.kv_heads << " widths "
             << s.k_dim << "/" << s.v_dim << " rotary " << s.rotary_dim << " hidden " << s.hidden;
}

// Runs of 1, 2, 5, 1, ... rows at positions far apart, every fourth one padding.
std::vector<Sequence> sequences(int32_t num_tokens) {
  std::vector<Sequence> out;
  constexpr int32_t kRows[] = {1, 2, 5, 1, 19};
  for (int32_t left = num_tokens; left > 0;) {
    const auto i = static_cast<int32_t>(out.size());
    const int32_t rows = std::min(left, kRows[i % 5]);
    const bool padding = i % 4 == 3 || (i == 0 && num_tokens == 2);
    out.push_back({padding ? 0 : rows + i * 37 % 300, rows});
    left -= rows;
  }
  return out;
}

// What a step left behind, in the order of its rows that are no padding.
struct Written {
  std::vector<float> q;
  std::vector<float> k;
  std::vector<float> v;
  int64_t num_k = 0;  // values of the pools that are no NaN
  int64_t num_v = 0;
};

int64_t count_written(const std::vector<uint8_t>& pool) {
  int64_t out = 0;
  for (size_t i = 0; i < pool.size(); i += 2) {
    uint16_t bits = 0;
    std::memcpy(&bits, pool.data() + i, 2);
    out += std::isnan(bf16_to_float(bits)) ? 0 : 1;
  }
  return out;
}

class QkvRunner {
 public:
  QkvRunner(const Shape& shape, const Weight& weight, const StepLimits& limits = product_limits())
      : shape_(shape), context_(make_context()), ops_(product_ops(*context_, limits)) {
    w_ = context_->add_matrix(device_weight(*context_, weight));
  }

  Written run(KvCase& kv_case, const std::vector<float>& x, int32_t num_tokens, bool with_q) {
    const int32_t q_cols = shape_.q_heads * shape_.k_dim;
    uint16_t* const q = poisoned_array<uint16_t>(*context_, int64_t{num_tokens} * q_cols + 1);
    uint8_t* const k = device_array(*context_, kv_case.k_pool());
    uint8_t* const v = device_array(*context_, kv_case.v_pool());
    QkvParams p;
    p.x = device_rows(*context_, first(x, num_tokens), shape_.hidden, with_q);
    p.qkv = w_;
    p.num_q_heads = shape_.q_heads;
    p.rotary_dim = shape_.rotary_dim;
    p.rope_theta = 10000.0;
    p.value_scale = 0.707f;
    p.runs = kv_case.runs();
    p.runs.row_begin = device_array(*context_, kv_case.row_begin());
    p.runs.context = device_array(*context_, kv_case.context());
    p.runs.row_run = device_array(*context_, kv_case.row_run());
    p.runs.slot = device_array(*context_, kv_case.slot());
    p.kv = kv_case.kv();
    p.kv.k = k;
    p.kv.v = v;
    p.kv.pages = device_array(*context_, kv_case.pages());
    p.q = q;

    ops_->qkv(p);

    const auto size = [](const auto& pool) { return static_cast<int64_t>(pool.size()); };
    kv_case.k_pool() = to_host(*context_, k, size(kv_case.k_pool()));
    kv_case.v_pool() = to_host(*context_, v, size(kv_case.v_pool()));
    return gather(kv_case, bf16_to_host(*context_, q, int64_t{num_tokens} * q_cols));
  }

 private:
  std::vector<float> first(const std::vector<float>& x, int32_t num_tokens) const {
    return {x.begin(), x.begin() + int64_t{num_tokens} * shape_.hidden};
  }
  Written gather(KvCase& kv_case, const std::vector<float>& q) const {
    Written out;
    const int64_t q_cols = int64_t{shape_.q_heads} * shape_.k_dim;
    const auto& row_run = kv_case.row_run();
    const std::vector<int32_t> positions = kv_case.all_positions();
    for (size_t t = 0; t < row_run.size(); ++t) {
      const auto s = static_cast<size_t>(row_run[t]);
      if (kv_case.is_padding(s)) continue;
      const auto row = q.begin() + static_cast<int64_t>(t) * q_cols;
      out.q.insert(out.q.end(), row, row + q_cols);
      for (int32_t h = 0; h < shape_.kv_heads; ++h) {
        for (int32_t d = 0; d < shape_.k_dim; ++d) {
          out.k.push_back(kv_case.k_at(s, positions[t], h, d));
        }
        for (int32_t d = 0; d < shape_.v_dim; ++d) {
          out.v.push_back(kv_case.v_at(s, positions[t], h, d));
        }
      }
    }
    out.num_k = count_written(kv_case.k_pool());
    out.num_v = count_written(kv_case.v_pool());
    return out;
  }

  const Shape shape_;
  std::unique_ptr<DeviceContext> context_;
  std::unique_ptr<ProductOps> ops_;
  Linear w_;
};

// Rows of `x` whose run is no padding.
Matrix real_rows(const KvCase& kv_case, const Matrix& x) {
  Matrix out(0, x.cols);
  for (size_t t = 0; t < kv_case.row_run().size(); ++t) {
    if (kv_case.is_padding(static_cast<size_t>(kv_case.row_run()[t]))) continue;
    const auto row = x.data.begin() + static_cast<int64_t>(t) * x.cols;
    out.data.insert(out.data.end(), row, row + x.cols);
    ++out.rows;
  }
  return out;
}

class Qkv : public ::testing::TestWithParam<Shape> {};

TEST_P(Qkv, MatchesTheReferenceAndWritesNothingElse) {
  SKIP_WITHOUT_GPU();
  const Shape s = GetParam();
  const reference::QkvShape heads = {s.q_heads,    s.kv_heads, s.k_dim, s.v_dim,
                                     s.rotary_dim, 10000.0,    0.707f};
  const int32_t rows = s.q_heads * s.k_dim + s.kv_heads * (s.k_dim + s.v_dim);
  const Weight weight = random_weight(s.dtype, rows, s.hidden, 41, s.rows_per_scale);
  const auto x = random_floats(int64_t{kManyTokens} * s.hidden, 43, kDevice);
  QkvRunner runner(s, weight);

  for (const int32_t num_tokens : {0, 1, 2, 8, 9, 17, 33, 64, 65, 129}) {
    SCOPED_TRACE(num_tokens);
    const std::vector<Sequence> steps = sequences(num_tokens);
    KvCase kv_case({heads, kPageTokens, DType::kBf16, DType::kBf16}, steps, 0, 44);
    const Matrix in = reference::matrix({x.data(), static_cast<size_t>(num_tokens * s.hidden)},
                                        num_tokens, s.hidden);
    const reference::Qkv want =
        reference::qkv(in, weight.view(), heads, kv_case.all_positions(), kDevice);

    const Written got =
        runner.run(kv_case, x, num_tokens, s.dtype == DType::kF8E4m3 && num_tokens % 2 == 1);

    const Matrix q = real_rows(kv_case, want.q);
    const Matrix k = real_rows(kv_case, want.k);
    const Matrix v = real_rows(kv_case, want.v);
    EXPECT_BLOCKS_NEAR(got.q, q, q.rows, kRounded);
    EXPECT_BLOCKS_NEAR(got.k, k, k.rows, kRounded);
    EXPECT_BLOCKS_NEAR(got.v, v, v.rows, kRounded);
    EXPECT_EQ(got.num_k, static_cast<int64_t>(k.data.size()));
    EXPECT_EQ(got.num_v, static_cast<int64_t>(v.data.size()));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Qkv,
                         ::testing::Values(Shape{DType::kF8E4m3, 4, 1, 192, 128, 64, 256, 64},
                                           Shape{DType::kF8E4m3, 1, 1, 192, 128, 64, 2048, 64},
                                           Shape{DType::kBf16, 2, 2, 192, 128, 64, 480},
                                           Shape{DType::kBf16, 4, 2, 24, 40, 8, 96},
                                           Shape{DType::kF8E4m3, 4, 4, 24, 40, 8, 64, 8},
                                           Shape{DType::kBf16, 2, 1, 32, 16, 10, 64},
                                           Shape{DType::kF8E4m3, 8, 4, 48, 32, 16, 160, 16},
                                           Shape{DType::kBf16, 3, 3, 32, 16, 0, 24},
                                           Shape{DType::kBf16, 2, 8, 32, 32, 32, 128}));

// The model's own shapes, against the reference of its first q head and first kv head alone.
TEST(QkvRealShape, MatchesTheReferenceOfSomeHeads) {
  SKIP_WITHOUT_GPU();
  for (const int32_t kv_heads : {1, 2}) {
    const Shape s = {DType::kF8E4m3, 16, kv_heads, 192, 128, 64, 4096};
    const int32_t rows = s.q_heads * s.k_dim + s.kv_heads * (s.k_dim + s.v_dim);
    const Weight weight = quick_weight(s.dtype, rows, s.hidden, 51);
    std::vector<int32_t> some;
    const int32_t k_row = s.q_heads * s.k_dim;
    const int32_t v_row = k_row + kv_heads * s.k_dim;
    for (int32_t i = 0; i < s.k_dim; ++i) some.push_back(5 * s.k_dim + i);
    for (int32_t i = 0; i < s.k_dim; ++i) some.push_back(k_row + (kv_heads - 1) * s.k_dim + i);
    for (int32_t i = 0; i < s.v_dim; ++i) some.push_back(v_row + (kv_heads - 1) * s.v_dim + i);
    const Weight sample = some_rows(weight, some);
    StepLimits limits = product_limits();
    limits.tokens_max = 256;
    const auto x = random_floats(int64_t{limits.tokens_max} * s.hidden, 53, kDevice);
    QkvRunner runner(s, weight, limits);
    for (const int32_t num_tokens : {1, 33, 97, 250}) {
      SCOPED_TRACE(num_tokens);
      const std::vector<Sequence> steps = sequences(num_tokens);
      const reference::QkvShape heads = {s.q_heads, kv_heads, 192, 128, 64, 10000.0, 0.707f};
      const reference::QkvShape one = {1, 1, 192, 128, 64, 10000.0, 0.707f};
      KvCase kv_case({heads, kPageTokens, DType::kBf16, DType::kBf16}, steps, 0, 54);
      const Matrix in = reference::matrix({x.data(), static_cast<size_t>(num_tokens * s.hidden)},
                                          num_tokens, s.hidden);
      const reference::Qkv want =
          reference::qkv(in, sample.view(), one, kv_case.all_positions(), kDevice);

      const Written got = runner.run(kv_case, x, num_tokens, true);

      const Matrix q = real_rows(kv_case, want.q);
      const Matrix k = real_rows(kv_case, want.k);
      const Matrix v = real_rows(kv_case, want.v);
      const auto part = [&](const std::vector<float>& all, int64_t cols, int64_t head,
                            int64_t dim) {
        std::vector<float> out;
        for (int64_t t = 0; t < q.rows; ++t) {
          const auto row = all.begin() + t * cols + head * dim;
          out.insert(out.end(), row, row + dim);
        }
        return out;
      };
      EXPECT_BLOCKS_NEAR(part(got.q, s.q_heads * 192, 5, 192), q, q.rows, kRounded);
      EXPECT_BLOCKS_NEAR(part(got.k, kv_heads * 192, kv_heads - 1, 192), k, k.rows, kRounded);
      EXPECT_BLOCKS_NEAR(part(got.v, kv_heads * 128, kv_heads - 1, 128), v, v.rows, kRounded);
      EXPECT_EQ(got.num_k, q.rows * kv_heads * 192);
      EXPECT_EQ(got.num_v, q.rows * kv_heads * 128);
    }
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
