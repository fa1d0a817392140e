#pragma once

#include <cstdint>

#include "kernels/cpu/simd.h"

// Included by one file an instruction set, each with its own flags: everything stays in an unnamed
// namespace there, so that no linker picks one set's code for another. V is a vector of kWidth
// floats with load, load_bf16, broadcast, fma, add, mul, zero, store.
namespace mimo::kernels {
namespace {

template <typename V, int kRows, int kPanels, bool kBf16>
struct Tile {
  static constexpr int kPerPanel = kPanel / V::kWidth;
  static constexpr int kVectors = kPanels * kPerPanel;

  static void run(const ProductBlock& p, int32_t row, int32_t panel) {
    V sums[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) sums[r][v] = V::zero();
    }
    const float* a = p.a + row * p.a_stride;
    for (int32_t k = 0; k < p.depth; ++k) {
      V weights[kVectors];
      for (int v = 0; v < kVectors; ++v) weights[v] = load(p, panel, k, v);
      for (int r = 0; r < kRows; ++r) {
        const V x = V::broadcast(a[r * p.a_stride + k]);
        for (int v = 0; v < kVectors; ++v) sums[r][v] = V::fma(x, weights[v], sums[r][v]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) store(p, row + r, panel, v, sums[r][v]);
    }
  }

  static V load(const ProductBlock& p, int32_t panel, int32_t k, int v) {
    const int64_t at =
        (panel + v / kPerPanel) * p.b_stride + int64_t{k} * kPanel + (v % kPerPanel) * V::kWidth;
    if constexpr (kBf16) return V::load_bf16(static_cast<const uint16_t*>(p.b) + at);
    return V::load(static_cast<const float*>(p.b) + at);
  }

  static void store(const ProductBlock& p, int32_t row, int32_t panel, int v, V sum) {
    const int32_t at = (v % kPerPanel) * V::kWidth;
    const int32_t of = panel + v / kPerPanel;
    float* c = p.c + row * p.c_stride + of * kPanel + at;
    const V before = p.add ? V::load(c) : V::zero();
    if (p.row_scales == nullptr) {
      V::add(before, sum).store(c);
      return;
    }
    const V scale = V::mul(V::broadcast(p.row_scales[row * p.row_scale_stride]),
                           V::load(p.col_scales + of * p.col_scale_stride + at));
    V::fma(sum, scale, before).store(c);
  }
};

// As many panels side by side as the registers hold.
template <typename V, int kRows>
constexpr int panels_of() {
  constexpr int kVectors = V::kSums / kRows / (kPanel / V::kWidth);
  return kVectors >= 4 ? 4 : kVectors >= 2 ? 2 : 1;
}

template <typename V, int kRows, bool kBf16>
void strip(const ProductBlock& p, int32_t row, int32_t panel, int32_t num_panels) {
  constexpr int kPanels = panels_of<V, kRows>();
  int32_t at = 0;
  for (; at + kPanels <= num_panels; at += kPanels) {
    Tile<V, kRows, kPanels, kBf16>::run(p, row, panel + at);
  }
  for (; at < num_panels; ++at) Tile<V, kRows, 1, kBf16>::run(p, row, panel + at);
}

template <typename V, int kRows, bool kBf16>
void rest(const ProductBlock& p, int32_t row, int32_t panel, int32_t num_panels) {
  if (p.rows - row == kRows) return strip<V, kRows, kBf16>(p, row, panel, num_panels);
  if constexpr (kRows > 1) rest<V, kRows - 1, kBf16>(p, row, panel, num_panels);
}

template <typename V, bool kBf16>
void product_of(const ProductBlock& p) {
  constexpr int32_t kGroup = panels_of<V, V::kRows>();
  for (int32_t panel = 0; panel < p.panels; panel += 4) {
    const int32_t num_panels = p.panels - panel < 4 ? p.panels - panel : 4;
    static_assert(4 % kGroup == 0, "a group of panels is whole tiles");
    int32_t row = 0;
    for (; row + V::kRows <= p.rows; row += V::kRows) {
      strip<V, V::kRows, kBf16>(p, row, panel, num_panels);
    }
    if (row < p.rows) rest<V, V::kRows - 1, kBf16>(p, row, panel, num_panels);
  }
}

template <typename V>
void product(const ProductBlock& p) {
  if (p.b_bf16) return product_of<V, true>(p);
  product_of<V, false>(p);
}

template <typename V, int kNum>
void dots_of(const float* x, const float* w, int64_t n, float* out) {
  constexpr int kVectors = kPanel / V::kWidth;
  V sums[kNum][kVectors];
  for (int i = 0; i < kNum; ++i) {
    for (int v = 0; v < kVectors; ++v) sums[i][v] = V::zero();
  }
  int64_t k = 0;
  for (; k + kPanel <= n; k += kPanel) {
    for (int v = 0; v < kVectors; ++v) {
      const V part = V::load(x + k + v * V::kWidth);
      for (int i = 0; i < kNum; ++i) {
        sums[i][v] = V::fma(part, V::load(w + i * n + k + v * V::kWidth), sums[i][v]);
      }
    }
  }
  for (int i = 0; i < kNum; ++i) {
    alignas(64) float lanes[kPanel];
    for (int v = 0; v < kVectors; ++v) sums[i][v].store(lanes + v * V::kWidth);
    for (int64_t at = k; at < n; ++at) lanes[at - k] += x[at] * w[i * n + at];
    for (int half = kPanel / 2; half > 0; half /= 2) {
      for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    }
    out[i] = lanes[0];
  }
}

template <typename V>
void dots(const float* x, const float* w, int32_t num, int64_t n, float* out) {
  int32_t i = 0;
  for (; i + 4 <= num; i += 4) dots_of<V, 4>(x, w + i * n, n, out + i);
  for (; i < num; ++i) dots_of<V, 1>(x, w + i * n, n, out + i);
}

// exp(x) = 2^n e^r with n an integer and |r| <= ln(2) / 2. Plain arithmetic without a branch, which
// the compiler turns into vectors; V::fma1 is one multiply-add.
template <typename V>
inline float exp_of(float x) {
  constexpr float kLog2E = 0x1.715476p0f;
  constexpr float kLn2High = 0x1.62e400p-1f;  // n times this is exact
  constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  constexpr float kToInteger = 0x1.8p23f;
  x = x < -110.0f ? -110.0f : x;
  x = x > 90.0f ? 90.0f : x;
  const float n = (x * kLog2E + kToInteger) - kToInteger;
  const float r = V::fma1(n, -kLn2Low, V::fma1(n, -kLn2High, x));
  float sum = 1.0f / 5040;
  sum = V::fma1(sum, r, 1.0f / 720);
  sum = V::fma1(sum, r, 1.0f / 120);
  sum = V::fma1(sum, r, 1.0f / 24);
  sum = V::fma1(sum, r, 1.0f / 6);
  sum = V::fma1(sum, r, 0.5f);
  sum = V::fma1(sum, r, 1.0f);
  sum = V::fma1(sum, r, 1.0f);
  // Two powers: 2^n alone may be too small or too large for a float whose product is not.
  const auto whole = static_cast<int32_t>(n == n ? n : 0.0f);
  const int32_t half = whole >> 1;
  const auto first = __builtin_bit_cast(float, (half + 127) << 23);
  const auto second = __builtin_bit_cast(float, (whole - half + 127) << 23);
  return sum * first * second;
}

template <typename V>
void exps(const float* x, int64_t n, float shift, float factor, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = exp_of<V>((x[i] - shift) * factor);
}

}  // namespace
}  // namespace mimo::kernels
