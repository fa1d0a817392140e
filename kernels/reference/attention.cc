#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/reference/reference.h"

namespace mimo::kernels::reference {
namespace {

// Rotate-half of the first rotary_dim columns of one head. The angle is a float32 product, as it
// was in training: at a far position a double's angle is another one.
void rotate(double* head, const QkvShape& shape, int32_t position) {
  const int32_t half = shape.rotary_dim / 2;
  for (int32_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(shape.rotary_dim);
    const auto power = static_cast<float>(std::pow(shape.rope_theta, double{exponent}));
    const float frequency = 1.0f / power;
    const float angle = static_cast<float>(position) * frequency;
    const double a = head[i];
    const double b = head[i + half];
    const double c = std::cos(double{angle});
    const double s = std::sin(double{angle});
    head[i] = a * c - b * s;
    head[i + half] = b * c + a * s;
  }
}

}  // namespace

Qkv qkv(const Matrix& x, const HostLinear& w, const QkvShape& shape,
        std::span<const int32_t> positions, CpuMode mode) {
  Matrix all = product(x, w, mode);
  const int64_t q_cols = int64_t{shape.num_q_heads} * shape.k_dim;
  const int64_t k_cols = int64_t{shape.kv_heads} * shape.k_dim;
  const int64_t v_cols = int64_t{shape.kv_heads} * shape.v_dim;
  CHECK_EQ(all.cols, q_cols + k_cols + v_cols);
  Qkv out{Matrix(x.rows, q_cols), Matrix(x.rows, k_cols), Matrix(x.rows, v_cols)};
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int32_t h = 0; h < shape.num_q_heads + shape.kv_heads; ++h) {
      rotate(&all.at(t, int64_t{h} * shape.k_dim), shape, positions[static_cast<size_t>(t)]);
    }
    for (int64_t c = 0; c < q_cols; ++c) out.q.at(t, c) = stored(all.at(t, c), mode);
    for (int64_t c = 0; c < k_cols; ++c) out.k.at(t, c) = all.at(t, q_cols + c);
    for (int64_t c = 0; c < v_cols; ++c) {
      out.v.at(t, c) = all.at(t, q_cols + k_cols + c) * shape.value_scale;
    }
  }
  return out;
}

Matrix attention(const Matrix& q, const Matrix& k, const Matrix& v, const QkvShape& shape,
                 std::span<const int32_t> positions, int32_t window, std::span<const float> sinks,
                 double scale, CpuMode mode) {
  const int32_t group = shape.num_q_heads / shape.kv_heads;
  Matrix out(q.rows, int64_t{shape.num_q_heads} * shape.v_dim);
  for (int64_t t = 0; t < q.rows; ++t) {
    const int32_t last = positions[static_cast<size_t>(t)];
    const int32_t first = window > 0 ? std::max(0, last - window + 1) : 0;
    for (int32_t h = 0; h < shape.num_q_heads; ++h) {
      const int64_t k_at = int64_t{h / group} * shape.k_dim;
      const int64_t v_at = int64_t{h / group} * shape.v_dim;
      std::vector<double> scores;
      for (int32_t j = first; j <= last; ++j) {
        double dot = 0;
        for (int32_t d = 0; d < shape.k_dim; ++d) {
          dot += q.at(t, int64_t{h} * shape.k_dim + d) * k.at(j, k_at + d);
        }
        scores.push_back(dot * scale);
      }
      double largest = *std::max_element(scores.begin(), scores.end());
      if (!sinks.empty()) largest = std::max(largest, double{sinks[static_cast<size_t>(h)]});
      double total = sinks.empty() ? 0 : std::exp(sinks[static_cast<size_t>(h)] - largest);
      for (double& score : scores) total += score = std::exp(score - largest);
      for (int32_t d = 0; d < shape.v_dim; ++d) {
        double sum = 0;
        for (int32_t j = first; j <= last; ++j) {
          sum += scores[static_cast<size_t>(j - first)] * v.at(j, v_at + d);
        }
        out.at(t, int64_t{h} * shape.v_dim + d) = stored(sum / total, mode);
      }
    }
  }
  return out;
}

}  // namespace mimo::kernels::reference
