#include <algorithm>
#include <numeric>
#include <ostream>

#include "kernels/cpu/rounding.h"
#include "kernels/cuda/rows/row_ops.h"
#include "tests/kernels/cuda/cuda_support.h"

namespace mimo::kernels::cuda::test {
namespace {

using mimo::kernels::test::kNan;
using mimo::kernels::test::random_floats;
using mimo::kernels::test::random_weight;
using mimo::kernels::test::relative_error;

constexpr CpuMode kDevice = CpuMode::kDevice;
constexpr float kEps = 1e-5f;

struct Shape {
  int32_t num_rows;
  int32_t cols;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  return out << "[" << shape.num_rows << ", " << shape.cols << "]";
}

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const int32_t cols : {8, 64, 96, 128, 200, 256, 4096, 8192, 8200, 16384}) {
    for (const int32_t num_rows : {0, 1, 3, 257}) all.push_back({num_rows, cols});
  }
  return all;
}

int32_t groups_of(int32_t cols) { return (cols + 127) / 128; }

// The first place where they differ, or -1.
template <typename T>
int64_t first_difference(const std::vector<T>& out, const std::vector<T>& want) {
  if (out.size() != want.size()) return 0;
  const auto [at, end] = std::mismatch(out.begin(), out.end(), want.begin());
  return at == out.end() ? -1 : at - out.begin();
}

template <typename T>
bool all_poison(const std::vector<T>& values, int64_t begin) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(values.data() + begin);
  const auto size = (static_cast<int64_t>(values.size()) - begin) * int64_t{sizeof(T)};
  return std::all_of(bytes, bytes + size, [](uint8_t byte) { return byte == 0xff; });
}

std::vector<uint16_t> bf16_bits(std::span<const float> values) {
  std::vector<uint16_t> out;
  for (const float x : values) out.push_back(float_to_bf16(x));
  return out;
}

// The bytes that the definition gives for these rows, by the CPU backend's own words.
struct Fp8Rows {
  std::vector<uint8_t> q;
  std::vector<float> scales;
};
Fp8Rows fp8_rows(std::span<const float> x, int32_t num_rows, int32_t cols) {
  Fp8Rows out;
  for (int64_t r = 0; r < num_rows; ++r) {
    for (int32_t begin = 0; begin < cols; begin += 128) {
      const auto group = x.subspan(static_cast<size_t>(r * cols + begin),
                                   static_cast<size_t>(std::min(128, cols - begin)));
      float largest = 0;
      for (const float value : group) largest = std::max(largest, std::fabs(value));
      const float scale = fp8_scale(largest);
      const float inverse = 1.0f / scale;
      for (const float value : group) out.q.push_back(float_to_e4m3(value * inverse));
      out.scales.push_back(scale);
    }
  }
  return out;
}

class RowShapes : public ::testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Shapes, RowShapes, ::testing::ValuesIn(shapes()));

// --- add_norm -----------------------------------------------------------------------------------

struct NormCase {
  NormCase(DeviceContext& device, Shape s, uint32_t seed) : context(device), shape(s) {
    const int64_t size = int64_t{s.num_rows} * s.cols;
    residual = random_floats(size, seed, kDevice, 3.0f);
    delta = random_floats(size, seed + 1, kDevice);
    weight = random_floats(s.cols, seed + 2, CpuMode::kF32);
    if (s.num_rows > 1) {  // a row whose sum is zero everywhere
      for (int64_t c = s.cols; c < 2 * int64_t{s.cols}; ++c) {
        delta[static_cast<size_t>(c)] = -residual[static_cast<size_t>(c)];
      }
    }
    const int64_t rows = s.num_rows + 1;  // one more than will be written
    d_weight = device_array(context, weight);
    d_delta = device_bf16(context, delta);
    d_residual = device_bf16(context, residual);
    out = {poisoned_array<uint16_t>(context, rows * s.cols),
           poisoned_array<uint8_t>(context, rows * s.cols),
           poisoned_array<float>(context, rows * groups_of(s.cols)), s.cols};
  }
  void run(bool with_delta, bool with_q) {
    AddNormParams p{d_residual,    with_delta ? d_delta : nullptr, d_weight, out, kEps,
                    shape.num_rows};
    if (!with_q) p.out.q = nullptr;
    if (!with_q) p.out.q_scales = nullptr;
    RowOps(context).add_norm(p);
  }
  int64_t size() const { return int64_t{shape.num_rows} * shape.cols; }

  DeviceContext& context;
  Shape shape;
  std::vector<float> residual, delta, weight;
  float* d_weight = nullptr;
  uint16_t* d_delta = nullptr;
  uint16_t* d_residual = nullptr;
  Rows out;
};

// out [T, H] against the definition: one bf16 step at most, where the float sum rounded otherwise.
void expect_norm(const std::vector<float>& out, const reference::Matrix& want) {
  EXPECT_LT(relative_error(out, want), 1e-3);
  int64_t worse = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    if (!(std::fabs(out[i] - want.data[i]) <= std::fabs(want.data[i]) * 0x1.02p-7)) ++worse;
  }
  EXPECT_EQ(worse, 0) << "values more than a bf16 step away";
}

TEST_P(RowShapes, AddNormIsTheDefinitionAndItsFp8CopyItsOwnBytes) {
  SKIP_WITHOUT_GPU();
  const Shape shape = GetParam();
  const auto context = make_context();
  for (const bool with_delta : {true, false}) {
    SCOPED_TRACE(with_delta ? "with delta" : "without delta");
    NormCase one(*context, shape, 11);
    one.run(with_delta, true);
    const int64_t size = one.size();

    std::vector<float> sums = one.residual;
    for (size_t i = 0; with_delta && i < sums.size(); ++i) {
      sums[i] = round_bf16(one.residual[i] + one.delta[i]);
    }
    EXPECT_EQ(first_difference(to_host(*context, one.d_residual, size), bf16_bits(sums)), -1);

    const auto residual = reference::matrix(one.residual, shape.num_rows, shape.cols);
    const auto delta = reference::matrix(one.delta, shape.num_rows, shape.cols);
    const auto want =
        reference::add_norm(residual, with_delta ? &delta : nullptr, one.weight, kEps, kDevice);
    const auto out = bf16_to_host(*context, one.out.values, size);
    expect_norm(out, want.out);

    const Fp8Rows fp8 = fp8_rows(out, shape.num_rows, shape.cols);
    const int64_t num_scales = int64_t{shape.num_rows} * groups_of(shape.cols);
    EXPECT_EQ(first_difference(to_host(*context, one.out.q, size), fp8.q), -1);
    EXPECT_EQ(first_difference(to_host(*context, one.out.q_scales, num_scales), fp8.scales), -1);
    const auto* values = static_cast<const uint16_t*>(one.out.values);
    EXPECT_TRUE(all_poison(to_host(*context, values, size + shape.cols), size));
    EXPECT_TRUE(all_poison(to_host(*context, one.out.q, size + shape.cols), size));
    EXPECT_TRUE(all_poison(to_host(*context, one.out.q_scales, num_scales + groups_of(shape.cols)),
                           num_scales));
  }
}

TEST(AddNormCuda, WithoutAnFp8CopyTheValuesAreTheSame) {
  SKIP_WITHOUT_GPU();
  const auto context = make_context();
  NormCase with(*context, {5, 4096}, 21);
  NormCase without(*context, {5, 4096}, 21);

  with.run(true, true);
  without.run(true, false);

  const auto* a = static_cast<const uint16_t*>(with.out.values);
  const auto* b = static_cast<const uint16_t*>(without.out.values);
  EXPECT_EQ(first_difference(to_host(*context, a, with.size()), to_host(*context, b, with.size())),
            -1);
  EXPECT_TRUE(all_poison(to_host(*context, without.out.q, with.size()), 0));
}

TEST(AddNormCuda, TheSumMayGoElsewhere) {
  SKIP_WITHOUT_GPU();
  const auto context = make_context();
  NormCase in_place(*context, {5, 4096}, 21);
  NormCase apart(*context, {5, 4096}, 21);
  auto* const sum = poisoned_array<uint16_t>(*context, apart.size());
  const auto before = to_host(*context, apart.d_residual, apart.size());

  in_place.run(true, true);
  RowOps(*context).add_norm(
      {apart.d_residual, apart.d_delta, apart.d_weight, apart.out, kEps, 5, sum});

  EXPECT_EQ(first_difference(to_host(*context, apart.d_residual, apart.size()), before), -1);
  EXPECT_EQ(first_difference(to_host(*context, sum, apart.size()),
                             to_host(*context, in_place.d_residual, apart.size())),
            -1);
  EXPECT_EQ(first_difference(to_host(*context, apart.out.q, apart.size()),
                             to_host(*context, in_place.out.q, apart.size())),
            -1);
}

TEST(AddNormCuda, ARowsBitsAreTheSameAtEveryLaunchAndInEveryCompany) {
  SKIP_WITHOUT_GPU();
  const auto context = make_context();
  NormCase one(*context, {33, 4096}, 31);
  one.run(false, true);
  const auto want = to_host(*context, one.out.q, one.size());
  const auto* values = static_cast<const uint16_t*>(one.out.values);
  const auto want_values = to_host(*context, values, one.size());

  for (int i = 0; i < 1000; ++i) one.run(false, true);
  EXPECT_EQ(first_difference(to_host(*context, one.out.q, one.size()), want), -1);
  EXPECT_EQ(first_difference(to_host(*context, values, one.size()), want_values), -1);

  AddNormParams alone{one.d_residual + 7 * 4096,
                      nullptr,
                      one.d_weight,
                      {poisoned_array<uint16_t>(*context, 4096), nullptr, nullptr, 4096},
                      kEps,
                      1};
  RowOps(*context).add_norm(alone);
  const auto row = to_host(*context, static_cast<const uint16_t*>(alone.out.values), 4096);
  EXPECT_EQ(first_difference(row, {want_values.begin() + 7 * 4096, want_values.begin() + 8 * 4096}),
            -1);
}

// --- quantise -----------------------------------------------------------------------------------

// Rows whose groups are zeros, too small for a normal scale, huge, or on the edges between e4m3
// values.
void put_edges(std::vector<float>& x, const Shape& shape) {
  const auto fill = [&](int64_t row, auto value) {
    if (row >= shape.num_rows) return;
    for (int32_t c = 0; c < shape.cols; ++c) {
      x[static_cast<size_t>(row * shape.cols + c)] = round_bf16(value(c));
    }
  };
  fill(1, [](int32_t) { return 0.0f; });
  fill(2, [](int32_t c) { return (c % 3 - 1) * 0x1p-130f; });
  fill(4, [](int32_t c) { return (c % 2 == 0 ? 1.0f : -0.25f) * 0x1.8p127f; });
  fill(5, [](int32_t c) { return c % 128 == 0 ? 448.0f : 1.0f + static_cast<float>(c % 64) / 16; });
}

TEST_P(RowShapes, QuantiseGivesTheDefinitionsBytes) {
  SKIP_WITHOUT_GPU();
  const Shape shape = GetParam();
  const auto context = make_context();
  const int64_t size = int64_t{shape.num_rows} * shape.cols;
  const int64_t num_scales = int64_t{shape.num_rows} * groups_of(shape.cols);
  std::vector<float> x = random_floats(size, 41, kDevice, 5.0f);
  put_edges(x, shape);
  auto* const q = poisoned_array<uint8_t>(*context, size + 128);
  auto* const scales = poisoned_array<float>(*context, num_scales + 1);

  quantise({device_bf16(*context, x), shape.cols, shape.num_rows, q, scales}, context->stream());

  const Fp8Rows want = fp8_rows(x, shape.num_rows, shape.cols);
  EXPECT_EQ(first_difference(to_host(*context, q, size), want.q), -1);
  EXPECT_EQ(first_difference(to_host(*context, scales, num_scales), want.scales), -1);
  EXPECT_TRUE(all_poison(to_host(*context, q, size + 128), size));
  EXPECT_TRUE(all_poison(to_host(*context, scales, num_scales + 1), num_scales));
  if (size > 100000) return;  // the definition looks at every e4m3 value for each
  const auto definition = reference::quantise(reference::matrix(x, shape.num_rows, shape.cols));
  for (int64_t i = 0; i < size; ++i) {
    const double out = e4m3_to_float(want.q[static_cast<size_t>(i)]);
    ASSERT_EQ(out, definition.values.data[static_cast<size_t>(i)]) << "at " << i;
  }
}

// --- embed, gather_rows, scatter ----------------------------------------------------------------

TEST_P(RowShapes, EmbedTakesThisRanksRowsAndZerosForTheOthers) {
  SKIP_WITHOUT_GPU();
  const Shape shape = GetParam();
  constexpr int32_t kVocabRows = 37;
  constexpr int32_t kVocabBegin = 100;
  const auto context = make_context();
  const Weight table = random_weight(DType::kBf16, kVocabRows, shape.cols, 51);
  const Linear linear = context->add_matrix(device_weight(*context, table));
  const std::vector<int32_t> last = {kVocabBegin + 3, -1, kVocabBegin - 1, kVocabBegin + 36};
  std::vector<int32_t> ids;
  std::vector<uint16_t> want;
  for (int32_t t = 0; t < shape.num_rows; ++t) {
    const int32_t step = t * 7 % 45;  // 99, 100 ... 136 are here, 137 and on are not
    ids.push_back(t % 5 == 4 ? ~(t / 5 % 4) : kVocabBegin - 1 + step);
    const int32_t token = ids.back() < 0 ? last[static_cast<size_t>(~ids.back())] : ids.back();
    const int32_t row = token - kVocabBegin;
    for (int64_t c = 0; c < shape.cols; ++c) {
      uint16_t bits = 0;
      const int64_t at = (int64_t{row} * shape.cols + c) * 2;
      if (token >= 0 && row >= 0 && row < kVocabRows) {
        std::copy_n(table.bytes.data() + at, 2, reinterpret_cast<uint8_t*>(&bits));
      }
      want.push_back(bits);
    }
  }
  const int64_t size = int64_t{shape.num_rows} * shape.cols;
  auto* const out = poisoned_array<uint16_t>(*context, size + shape.cols);

  RowOps(*context).embed({device_array(*context, ids), device_array(*context, last), linear,
                          kVocabBegin, out, shape.num_rows});

  const auto host = to_host(*context, out, size + shape.cols);
  EXPECT_EQ(first_difference({host.begin(), host.begin() + size}, want), -1);
  EXPECT_TRUE(all_poison(host, size));
}

TEST_P(RowShapes, GatherTakesTheNamedRows) {
  SKIP_WITHOUT_GPU();
  const Shape shape = GetParam();
  constexpr int32_t kRows = 50;
  const auto context = make_context();
  const auto in = random_floats(int64_t{kRows} * shape.cols, 61, kDevice);
  std::vector<int32_t> rows;
  std::vector<float> want;
  for (int32_t r = 0; r < shape.num_rows; ++r) {
    rows.push_back((r * 17 + 3) % kRows);
    want.insert(want.end(), in.begin() + int64_t{rows.back()} * shape.cols,
                in.begin() + (int64_t{rows.back()} + 1) * shape.cols);
  }
  const int64_t size = int64_t{shape.num_rows} * shape.cols;
  auto* const out = poisoned_array<uint16_t>(*context, size + shape.cols);

  RowOps(*context).gather_rows(
      {device_bf16(*context, in), device_array(*context, rows), out, shape.num_rows, shape.cols});

  const auto host = to_host(*context, out, size + shape.cols);
  EXPECT_EQ(first_difference({host.begin(), host.begin() + size}, bf16_bits(want)), -1);
  EXPECT_TRUE(all_poison(host, size));
}

TEST(ScatterCuda, PutsEachValueInItsPlaceAndLeavesTheOthers) {
  SKIP_WITHOUT_GPU();
  const auto context = make_context();
  for (const int32_t count : {0, 1, 255, 256, 257, 5000}) {
    std::vector<int32_t> at(static_cast<size_t>(count));
    std::vector<int32_t> values(at.size());
    std::vector<int32_t> want(20000, -7);
    for (int32_t i = 0; i < count; ++i) {
      at[static_cast<size_t>(i)] = (i * 3 + 1) * 7 % 20000;  // 7 and 3 share no factor with 20000
      values[static_cast<size_t>(i)] = i * i - 5;
      want[static_cast<size_t>(at[static_cast<size_t>(i)])] = i * i - 5;
    }
    int32_t* const table = device_array(*context, std::vector<int32_t>(20000, -7));

    RowOps(*context).scatter(
        {table, device_array(*context, at), device_array(*context, values), count});

    EXPECT_EQ(first_difference(to_host(*context, table, 20000), want), -1) << "count " << count;
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
