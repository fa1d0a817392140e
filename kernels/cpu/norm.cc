#include <cmath>

#include "base/check.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/rounding.h"

namespace mimo::kernels {
namespace {

constexpr int32_t kLanes = 16;
constexpr int32_t kGroup = 128;

// In 16 interleaved sums, so that the compiler may keep them side by side.
float sum_of_squares(const float* x, int32_t n) {
  float lanes[kLanes] = {};
  int32_t at = 0;
  for (; at + kLanes <= n; at += kLanes) {
    for (int32_t i = 0; i < kLanes; ++i) lanes[i] += x[at + i] * x[at + i];
  }
  for (int32_t i = 0; at + i < n; ++i) lanes[i] += x[at + i] * x[at + i];
  for (int32_t half = kLanes / 2; half > 0; half /= 2) {
    for (int32_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

void quantise_row(const float* x, int32_t cols, uint8_t* q, float* scales) {
  for (int32_t col = 0; col < cols; col += kGroup) {
    const int32_t width = std::min(kGroup, cols - col);
    float largest = 0;
    for (int32_t i = 0; i < width; ++i) largest = std::max(largest, std::fabs(x[col + i]));
    const float scale = fp8_scale(largest);
    const float inverse = 1.0f / scale;
    for (int32_t i = 0; i < width; ++i) q[col + i] = float_to_e4m3(x[col + i] * inverse);
    scales[col / kGroup] = scale;
  }
}

void norm_row(const CpuContext& context, const AddNormParams& p, int64_t t) {
  const int32_t hidden = p.out.cols;
  const float* residual = static_cast<const float*>(p.residual) + t * hidden;
  float* out = static_cast<float*>(p.out.values) + t * hidden;
  if (p.delta != nullptr) {
    const float* delta = static_cast<const float*>(p.delta) + t * hidden;
    void* const to = p.residual_out == nullptr ? p.residual : p.residual_out;
    float* sum = static_cast<float*>(to) + t * hidden;
    for (int32_t c = 0; c < hidden; ++c) {
      sum[c] = context.stored(residual[c] + context.stored(delta[c]));
    }
    residual = sum;
  }
  const float mean = sum_of_squares(residual, hidden) / static_cast<float>(hidden);
  const float factor = 1.0f / std::sqrt(mean + p.eps);
  for (int32_t c = 0; c < hidden; ++c) {
    out[c] = context.stored(residual[c] * factor * p.weight[c]);
  }
  if (p.out.q == nullptr) return;
  const int32_t groups = (hidden + kGroup - 1) / kGroup;
  quantise_row(out, hidden, p.out.q + t * hidden, p.out.q_scales + t * groups);
}

}  // namespace

void add_norm(CpuContext& context, const AddNormParams& p) {
  CHECK_GT(p.out.cols, 0);
  CHECK_EQ(p.out.q == nullptr, p.out.q_scales == nullptr);
  context.pool.run(p.num_tokens, int64_t{p.num_tokens} * p.out.cols * 8,
                   [&](int64_t t) { norm_row(context, p, t); });
}

}  // namespace mimo::kernels
