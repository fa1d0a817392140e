#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "kernels/cpu/rounding.h"
#include "tests/kernels/cuda/product_support.h"

// The experts with the sums of wgmma's e4m3 products. Of 32 products and what was summed before, it
// takes the largest exponent, a product's being the sum of its factors', and drops what lies more
// than 13 bits below; so it does with the sum. Of an intermediate's 512 columns some then fall on
// the other side of an e4m3 step, and where few large ones make up a result, that is some percent
// of it. Against this model a kernel's own mistakes show.
namespace mimo::kernels::cuda::test {

inline int exponent_of(double x) {
  int out = 0;
  std::frexp(x, &out);
  return x == 0 ? -1000 : out - 1;
}

// Of 128 columns.
inline float wgmma_sum(const float* a, const float* b) {
  constexpr int kBits = 13;
  const auto cut = [](double x, int exponent) {
    const double step = std::ldexp(1.0, exponent - kBits);
    return static_cast<double>(static_cast<int64_t>(x / step)) * step;
  };
  double sum = 0;
  for (int k = 0; k < 128; k += 32) {
    int largest = exponent_of(sum);
    for (int i = k; i < k + 32; ++i) {
      largest = std::max(largest, exponent_of(a[i]) + exponent_of(b[i]));
    }
    if (largest < -100) continue;
    double next = cut(sum, largest);
    for (int i = k; i < k + 32; ++i) next += cut(static_cast<double>(a[i]) * b[i], largest);
    sum = next == 0 ? 0 : cut(next, exponent_of(next));
  }
  return static_cast<float>(sum);
}

// A row as the kernels take it: e4m3's values, and a scale for each 128 of them.
struct ModelRow {
  explicit ModelRow(const std::vector<float>& x) : values(x.size()) {
    for (size_t begin = 0; begin < x.size(); begin += 128) {
      float largest = 0;
      for (size_t i = begin; i < begin + 128; ++i) largest = std::max(largest, std::fabs(x[i]));
      scales.push_back(fp8_scale(largest));
      const float inverse = 1.0f / scales.back();
      for (size_t i = begin; i < begin + 128; ++i) values[i] = round_e4m3(x[i] * inverse);
    }
  }

  std::vector<float> values;
  std::vector<float> scales;
};

// Of each of the weight's rows; blocks of columns [begin, end) of as many parts, each a chain.
inline std::vector<float> model_product(const Weight& w, const ModelRow& x, int64_t parts) {
  const int64_t blocks = w.cols / 128;
  std::vector<float> out;
  std::vector<float> row(static_cast<size_t>(w.cols));
  for (int64_t r = 0; r < w.rows; ++r) {
    for (int64_t c = 0; c < w.cols; ++c) {
      row[static_cast<size_t>(c)] = e4m3_to_float(w.bytes[static_cast<size_t>(r * w.cols + c)]);
    }
    float total = 0;
    for (int64_t part = 0; part < parts; ++part) {
      float chain = 0;
      for (int64_t b = part * blocks / parts; b < (part + 1) * blocks / parts; ++b) {
        const float scale = w.scales[static_cast<size_t>(r / w.rows_per_scale * blocks + b)] *
                            x.scales[static_cast<size_t>(b)];
        chain = std::fma(wgmma_sum(row.data() + b * 128, x.values.data() + b * 128), scale, chain);
      }
      total += chain;
    }
    out.push_back(total);
  }
  return out;
}

// silu(gate) * up, then down, as bf16.
inline std::vector<float> model_expert(const Weight& gate_up, const Weight& down,
                                       const ModelRow& x) {
  const auto both = model_product(gate_up, x, 2);
  const size_t columns = both.size() / 2;
  std::vector<float> middle;
  for (size_t c = 0; c < columns; ++c) {
    middle.push_back(round_bf16(both[c] / (1.0f + std::exp(-both[c])) * both[columns + c]));
  }
  auto out = model_product(down, ModelRow(middle), 1);
  std::transform(out.begin(), out.end(), out.begin(), round_bf16);
  return out;
}

}  // namespace mimo::kernels::cuda::test
