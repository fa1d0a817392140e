#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cuda/product/product_ops.h"
#include "tests/kernels/cuda/cuda_support.h"

// What the tests of products share: weights, sampled references, errors by block of columns.
namespace mimo::kernels::cuda::test {

using mimo::kernels::test::random_floats;
using mimo::kernels::test::random_weight;
using reference::Matrix;

constexpr CpuMode kDevice = CpuMode::kDevice;
constexpr int32_t kManyTokens = 129;
constexpr int32_t kTokenCounts[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 129};

inline StepLimits product_limits() {
  StepLimits out;
  out.tokens_max = kManyTokens;
  out.runs_max = kManyTokens;
  out.hidden = 4096;
  out.qkv_cols_max = 3712;
  out.attention_cols_max = 4096;
  out.dense_cols_max = 4096;
  return out;
}

inline std::unique_ptr<ProductOps> product_ops(DeviceContext& context,
                                               const StepLimits& limits = product_limits()) {
  auto out = std::make_unique<ProductOps>(context);
  EXPECT_TRUE(out->prepare(limits).ok());
  return out;
}

// The relative error of the worst block of 64 columns, over all rows: a wrong scale or a wrong
// place shows here even where the whole hides it.
struct WorstBlock {
  double error = 0;
  int64_t block = -1;
};
inline WorstBlock worst_block(std::span<const float> out, const Matrix& want, int64_t num_rows) {
  EXPECT_EQ(static_cast<int64_t>(out.size()), num_rows * want.cols);
  WorstBlock worst;
  for (int64_t begin = 0; begin < want.cols; begin += 64) {
    double difference = 0;
    double size = 0;
    for (int64_t r = 0; r < num_rows; ++r) {
      for (int64_t c = begin; c < std::min(want.cols, begin + 64); ++c) {
        const double x = out[static_cast<size_t>(r * want.cols + c)];
        difference += (x - want.at(r, c)) * (x - want.at(r, c));
        size += want.at(r, c) * want.at(r, c);
      }
    }
    double error = size == 0 ? std::sqrt(difference) : std::sqrt(difference / size);
    if (std::isnan(error)) error = std::numeric_limits<double>::infinity();
    if (error > worst.error) worst = {error, begin / 64};
  }
  return worst;
}
#define EXPECT_BLOCKS_NEAR(out, want, num_rows, bound)                                         \
  do {                                                                                         \
    const auto worst_ = ::mimo::kernels::cuda::test::worst_block((out), want, (num_rows));     \
    EXPECT_LT(worst_.error, bound) << #out << ", columns from " << worst_.block * 64 << " on"; \
  } while (false)

inline Matrix first_rows(const Matrix& x, int64_t count) {
  Matrix out(count, x.cols);
  std::copy_n(x.data.begin(), count * x.cols, out.data.begin());
  return out;
}

// Bit patterns from a linear congruential generator: large weights in a blink. Values between
// 2^-7 and 2 as bf16; every finite e4m3 value below 16 in magnitude as FP8.
inline Weight quick_weight(DType dtype, int64_t rows, int64_t cols, uint32_t seed,
                           int32_t rows_per_scale = 128) {
  Weight out{dtype, rows, cols, rows_per_scale, {}, {}};
  uint64_t state = seed * 2654435761u + 1;
  const auto next = [&] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state >> 33);
  };
  out.bytes.resize(static_cast<size_t>(rows * cols * dtype_bytes(dtype)));
  if (dtype == DType::kBf16) {
    for (size_t i = 0; i < out.bytes.size(); i += 2) {
      const uint32_t bits = next();
      const uint32_t value = (bits & 0x807fu) | (120 + (bits >> 16) % 8) << 7;
      out.bytes[i] = static_cast<uint8_t>(value);
      out.bytes[i + 1] = static_cast<uint8_t>(value >> 8);
    }
    return out;
  }
  for (uint8_t& byte : out.bytes) {
    const uint32_t bits = next();
    byte = static_cast<uint8_t>((bits & 0x80u) | (bits >> 8) % 0x58u);
  }
  const int64_t num_scales = (rows + rows_per_scale - 1) / rows_per_scale * ((cols + 127) / 128);
  for (int64_t i = 0; i < num_scales; ++i) {
    out.scales.push_back(std::ldexp(1.0f + static_cast<float>(next() % 1024) / 1024.0f,
                                    static_cast<int>(next() % 5) - 8));
  }
  return out;
}

// Some rows of a weight as a weight, each with its own scales.
inline Weight some_rows(const Weight& from, const std::vector<int32_t>& rows) {
  Weight out{from.dtype, static_cast<int64_t>(rows.size()), from.cols, 1, {}, {}};
  const int64_t row_bytes = from.cols * dtype_bytes(from.dtype);
  const int64_t scale_cols = (from.cols + 127) / 128;
  for (const int32_t r : rows) {
    const auto bytes = from.bytes.begin() + r * row_bytes;
    out.bytes.insert(out.bytes.end(), bytes, bytes + row_bytes);
    if (from.dtype != DType::kF8E4m3) continue;
    const auto scales = from.scales.begin() + r / from.rows_per_scale * scale_cols;
    out.scales.insert(out.scales.end(), scales, scales + scale_cols);
  }
  return out;
}

// Rows of activations on the device, with the FP8 copy if asked for.
inline Rows device_rows(DeviceContext& context, const std::vector<float>& x, int32_t cols,
                        bool with_q) {
  Rows out;
  out.values = device_bf16(context, x);
  out.cols = cols;
  if (!with_q) return out;
  const int64_t num_rows = static_cast<int64_t>(x.size()) / cols;
  const reference::Quantised q = reference::quantise(reference::matrix(x, num_rows, cols));
  std::vector<uint8_t> bytes;
  for (const double value : q.values.data) bytes.push_back(float_to_e4m3(value));
  out.q = device_array(context, bytes);
  out.q_scales =
      device_array(context, std::vector<float>(q.scales.data.begin(), q.scales.data.end()));
  return out;
}

template <typename T>
bool equal_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

}  // namespace mimo::kernels::cuda::test
