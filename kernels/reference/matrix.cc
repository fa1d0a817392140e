#include <cmath>
#include <cstring>

#include "base/check.h"
#include "kernels/reference/reference.h"

namespace mimo::kernels::reference {
namespace {

double e4m3_value(int code) {
  const int exponent = code >> 3;
  const double mantissa = (code & 7) / 8.0;
  return exponent == 0 ? std::ldexp(mantissa, -6) : std::ldexp(1.0 + mantissa, exponent - 7);
}

double element(const HostLinear& w, int64_t at) {
  if (w.dtype == DType::kF32) {
    float x = 0;
    std::memcpy(&x, w.bytes.data() + at * 4, 4);
    return x;
  }
  if (w.dtype == DType::kBf16) {
    uint16_t x = 0;
    std::memcpy(&x, w.bytes.data() + at * 2, 2);
    return bf16_to_float(x);
  }
  const uint8_t code = w.bytes[static_cast<size_t>(at)];
  CHECK_NE(code & 0x7f, 0x7f);
  return e4m3_value(code & 0x7f) * ((code & 0x80) != 0 ? -1 : 1);
}

double scale_at(const HostLinear& w, int64_t row, int64_t col) {
  if (w.dtype != DType::kF8E4m3) return 1;
  const int64_t groups = (w.cols + 127) / 128;
  return w.scales[static_cast<size_t>(row / w.rows_per_scale * groups + col / 128)];
}

}  // namespace

Matrix matrix(std::span<const float> values, int64_t rows, int64_t cols) {
  CHECK_EQ(static_cast<int64_t>(values.size()), rows * cols);
  Matrix out(rows, cols);
  out.data.assign(values.begin(), values.end());
  return out;
}

double stored(double x, CpuMode mode) {
  if (mode == CpuMode::kF32) return x;
  return bf16_to_float(float_to_bf16(static_cast<float>(x)));
}

Matrix stored(Matrix x, CpuMode mode) {
  for (double& value : x.data) value = stored(value, mode);
  return x;
}

double nearest_e4m3(double x) {
  const double magnitude = std::fabs(x);
  int best = 0;
  for (int code = 1; code < 0x7f; ++code) {
    const double now = std::fabs(e4m3_value(code) - magnitude);
    const double before = std::fabs(e4m3_value(best) - magnitude);
    if (now < before || (now == before && code % 2 == 0)) best = code;
  }
  return std::copysign(e4m3_value(best), x);
}

Quantised quantise(const Matrix& x) {
  const int64_t groups = (x.cols + 127) / 128;
  Quantised out{Matrix(x.rows, x.cols), Matrix(x.rows, groups)};
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t end = std::min(x.cols, (g + 1) * 128);
      float largest = 0;
      for (int64_t c = g * 128; c < end; ++c) {
        largest = std::max(largest, static_cast<float>(std::fabs(x.at(r, c))));
      }
      float scale = largest / 448.0f;
      if (scale < 0x1p-126f) scale = 1;
      const float inverse = 1.0f / scale;
      out.scales.at(r, g) = scale;
      for (int64_t c = g * 128; c < end; ++c) {
        out.values.at(r, c) = nearest_e4m3(static_cast<float>(x.at(r, c)) * inverse);
      }
    }
  }
  return out;
}

Matrix weight(const HostLinear& w) {
  Matrix out(w.rows, w.cols);
  for (int64_t r = 0; r < w.rows; ++r) {
    for (int64_t c = 0; c < w.cols; ++c) {
      out.at(r, c) = element(w, r * w.cols + c) * scale_at(w, r, c);
    }
  }
  return out;
}

Matrix product(const Matrix& x, const HostLinear& w, CpuMode mode) {
  CHECK_EQ(x.cols, w.cols);
  Matrix in = x;
  if (mode == CpuMode::kDevice && w.dtype == DType::kF8E4m3) {
    const Quantised q = quantise(x);
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t c = 0; c < x.cols; ++c) {
        in.at(r, c) = q.values.at(r, c) * q.scales.at(r, c / 128);
      }
    }
  }
  const Matrix weights = weight(w);
  Matrix out(x.rows, w.rows);
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t r = 0; r < w.rows; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < w.cols; ++c) sum += in.at(t, c) * weights.at(r, c);
      out.at(t, r) = sum;
    }
  }
  return out;
}

}  // namespace mimo::kernels::reference
