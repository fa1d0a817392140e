#include <cstring>

#include "kernels/cuda/staging.h"
#include "kernels/cuda/weight_store.h"
#include "tests/kernels/cuda/cuda_support.h"

namespace mimo::kernels::cuda::test {
namespace {

using mimo::kernels::test::random_weight;

struct Store {
  Store() : context(make_context()), staging(Staging::create(*context).value()) {}
  int64_t weight_bytes() const {
    return context->bytes_by_purpose()[static_cast<size_t>(Purpose::kWeights)];
  }

  std::unique_ptr<DeviceContext> context;
  std::unique_ptr<Staging> staging;
  WeightStore weights{*context, *staging};
};

// Random bytes are quick to make for large shapes; NaN patterns may be among them.
Weight random_bytes(DType dtype, int64_t rows, int64_t cols, uint32_t seed) {
  Weight out{dtype, rows, cols, 128, {}, {}};
  std::mt19937 generator(seed);
  out.bytes.resize(static_cast<size_t>(rows * cols * dtype_bytes(dtype)));
  for (uint8_t& byte : out.bytes) byte = static_cast<uint8_t>(generator() >> 13);
  if (dtype != DType::kF8E4m3) return out;
  for (int64_t i = 0; i < (rows + 127) / 128 * ((cols + 127) / 128); ++i) {
    out.scales.push_back(static_cast<float>(i) + 0.5f);
  }
  return out;
}

// Weight `i` of the matrices holds exactly this, with zeros behind each row.
void expect_holds(Store& store, const DeviceMatrix& matrices, int32_t i, const Weight& weight) {
  const auto* const values =
      static_cast<const uint8_t*>(matrices.values) + i * matrices.value_bytes();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(values) % 128, 0u);
  const auto host = to_host(*store.context, values, matrices.value_bytes());
  const int64_t size = dtype_bytes(matrices.dtype);
  const int64_t row_bytes = weight.cols * size;
  const int64_t stride = matrices.ld * size;
  EXPECT_EQ(stride % 16, 0);
  int64_t bad_rows = 0;
  for (int64_t r = 0; r < weight.rows; ++r) {
    const uint8_t* const row = host.data() + r * stride;
    bool good =
        std::memcmp(row, weight.bytes.data() + r * row_bytes, static_cast<size_t>(row_bytes)) == 0;
    for (int64_t c = row_bytes; c < stride; ++c) good = good && row[c] == 0;
    if (!good) ++bad_rows;
  }
  EXPECT_EQ(bad_rows, 0) << "of " << weight.rows;
  if (weight.scales.empty()) return;
  EXPECT_EQ(
      to_host(*store.context, matrices.scales + i * matrices.num_scales(), matrices.num_scales()),
      weight.scales);
}

TEST(WeightStoreCuda, LoadsShapesOfEveryKind) {
  SKIP_WITHOUT_GPU();
  Store store;
  uint32_t seed = 1;
  for (const DType dtype : {DType::kBf16, DType::kF8E4m3}) {
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 8},
                                     {5, 24},
                                     {37, 40},
                                     {130, 200},
                                     {128, 128},
                                     {257, 4096},
                                     {5000, 4104}}) {  // more than all pinned buffers in bf16
      SCOPED_TRACE(std::string(dtype_name(dtype)) + " " + std::to_string(rows) + " x " +
                   std::to_string(cols));
      Weight weight = random_bytes(dtype, rows, cols, ++seed);
      const Weight kept = weight;
      const Linear linear = store.weights.load_linear(weight.view()).value();
      weight.bytes.assign(weight.bytes.size(), 0xab);  // the source is free again

      EXPECT_EQ(linear.rows, rows);
      EXPECT_EQ(linear.cols, cols);
      expect_holds(store, store.context->matrix(linear), 0, kept);
    }
  }
}

TEST(WeightStoreCuda, AStacksWeightsStandWhereTheyWerePut) {
  SKIP_WITHOUT_GPU();
  Store store;
  for (const DType dtype : {DType::kBf16, DType::kF8E4m3}) {
    for (const auto& [rows, cols] :
         {std::pair<int64_t, int64_t>{5, 24}, {33, 8}, {64, 96}, {1024, 512}}) {
      const LinearStack stack = store.weights.make_stack({3, dtype, rows, cols, 128}).value();
      std::vector<Weight> weights;
      for (uint32_t i = 0; i < 3; ++i) weights.push_back(random_bytes(dtype, rows, cols, 70 + i));
      for (const int32_t i : {2, 0, 1}) {
        ASSERT_TRUE(store.weights.load_into(stack, i, weights[static_cast<size_t>(i)].view()).ok());
      }
      for (int32_t i = 0; i < 3; ++i) {
        SCOPED_TRACE(std::to_string(i));
        expect_holds(store, store.context->stack(stack), i, weights[static_cast<size_t>(i)]);
      }
    }
  }
}

TEST(WeightStoreCuda, WhatDoesNotFitAStackIsRefusedAndNothingMoves) {
  SKIP_WITHOUT_GPU();
  Store store;
  const LinearStack stack = store.weights.make_stack({2, DType::kF8E4m3, 64, 128, 64}).value();
  const Weight first = random_weight(DType::kF8E4m3, 64, 128, 3, 64);
  ASSERT_TRUE(store.weights.load_into(stack, 0, first.view()).ok());

  const auto refused = [&](int32_t i, const Weight& weight) {
    const auto result = store.weights.load_into(stack, i, weight.view());
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, Code::kInvalidArgument) << result.error().message;
  };
  refused(2, first);
  refused(-1, first);
  refused(0, random_weight(DType::kBf16, 64, 128, 4));
  refused(0, random_weight(DType::kF8E4m3, 64, 128, 4, 128));
  refused(0, random_weight(DType::kF8E4m3, 128, 64, 4, 64));
  Weight short_scales = random_weight(DType::kF8E4m3, 64, 128, 4, 64);
  short_scales.scales.clear();
  refused(0, short_scales);
  expect_holds(store, store.context->stack(stack), 0, first);
}

// Mean and variance of a row's values times its scales.
std::pair<double, double> moments(Store& store, const DeviceMatrix& matrix) {
  const auto* const values = static_cast<const uint8_t*>(matrix.values);
  const auto bytes = to_host(*store.context, values, matrix.value_bytes());
  std::vector<float> scales;
  const bool fp8 = matrix.dtype == DType::kF8E4m3;
  if (fp8) scales = to_host(*store.context, matrix.scales, matrix.num_scales());
  double sum = 0;
  double squares = 0;
  for (int64_t r = 0; r < matrix.rows; ++r) {
    for (int64_t c = 0; c < matrix.ld; ++c) {
      const auto at = static_cast<size_t>(r * matrix.ld + c);
      double x = 0;
      if (fp8) {
        x = e4m3_to_float(bytes[at]);
        const int64_t block = r / matrix.rows_per_scale * matrix.scale_cols + c / 128;
        if (c < matrix.cols) x *= scales[static_cast<size_t>(block)];
      } else {
        uint16_t bits = 0;
        std::memcpy(&bits, bytes.data() + 2 * at, 2);
        x = bf16_to_float(bits);
      }
      EXPECT_TRUE(c < matrix.cols || x == 0) << "padding of row " << r;
      sum += x;
      squares += x * x;
    }
  }
  const auto count = static_cast<double>(int64_t{matrix.rows} * matrix.cols);
  return {sum / count, squares / count};
}

TEST(WeightStoreCuda, RandomWeightsHaveTheirDeviationAndRepeat) {
  SKIP_WITHOUT_GPU();
  Store store;
  for (const DType dtype : {DType::kBf16, DType::kF8E4m3}) {
    SCOPED_TRACE(dtype_name(dtype));
    const StackShape shape{1, dtype, 2048, 1000, 128};
    const auto matrix = store.context->matrix(store.weights.random_linear(shape, 5).value());
    const auto [mean, variance] = moments(store, matrix);
    EXPECT_LT(std::fabs(mean), 2e-4);
    EXPECT_NEAR(variance * 1000, 1.0, 0.15);

    const auto bytes = [&](uint64_t seed) {
      const auto other = store.context->matrix(store.weights.random_linear(shape, seed).value());
      return to_host(*store.context, static_cast<const uint8_t*>(other.values),
                     other.value_bytes());
    };
    EXPECT_TRUE(bytes(5) == bytes(5));
    EXPECT_FALSE(bytes(5) == bytes(6));
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda::test
