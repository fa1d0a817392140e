#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "kernels/cpu/context.h"

namespace mimo::kernels {
namespace {

struct Rotation {
  std::vector<float> frequencies;  // [rotary_dim / 2]: 1 / theta^(2 i / rotary_dim)
};

// The power is rounded to float, then its reciprocal: what a float32 framework computes.
Rotation rotation_of(const QkvParams& p) {
  Rotation out;
  for (int32_t i = 0; i < p.rotary_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(p.rotary_dim);
    const auto power = static_cast<float>(std::pow(p.rope_theta, double{exponent}));
    out.frequencies.push_back(1.0f / power);
  }
  return out;
}

void rotate(float* head, const float* cosines, const float* sines, int32_t half) {
  for (int32_t i = 0; i < half; ++i) {
    const float a = head[i];
    const float b = head[i + half];
    head[i] = a * cosines[i] - b * sines[i];
    head[i + half] = b * cosines[i] + a * sines[i];
  }
}

void write_cache(void* pool, DType dtype, int64_t row, int32_t dim, const float* from,
                 float factor) {
  if (dtype == DType::kF32) {
    float* to = static_cast<float*>(pool) + row * dim;
    for (int32_t i = 0; i < dim; ++i) to[i] = from[i] * factor;
    return;
  }
  CHECK(dtype == DType::kBf16);
  uint16_t* to = static_cast<uint16_t*>(pool) + row * dim;
  for (int32_t i = 0; i < dim; ++i) to[i] = float_to_bf16(from[i] * factor);
}

// Rotates, scales and puts away one row of the product.
void finish_row(const CpuContext& context, const QkvParams& p, const Rotation& rotation, int32_t t,
                float* row) {
  const PagedKv& kv = p.kv;
  const int32_t run = p.runs.row_run[t];
  const int64_t q_cols = int64_t{p.num_q_heads} * kv.k_dim;
  float* q = static_cast<float*>(p.q) + t * q_cols;
  if (p.runs.context[run] == 0) {
    std::fill(q, q + q_cols, 0.0f);
    return;
  }
  const int32_t position = p.runs.context[run] - (p.runs.row_begin[run + 1] - t);
  CHECK_GE(position, 0);
  const int32_t half = p.rotary_dim / 2;
  std::vector<float> cosines(static_cast<size_t>(half));
  std::vector<float> sines(static_cast<size_t>(half));
  for (int32_t i = 0; i < half; ++i) {
    const float angle = static_cast<float>(position) * rotation.frequencies[i];
    cosines[i] = std::cos(angle);
    sines[i] = std::sin(angle);
  }
  const int32_t num_rotated = p.num_q_heads + kv.kv_heads;
  for (int32_t h = 0; h < num_rotated; ++h) {
    rotate(row + int64_t{h} * kv.k_dim, cosines.data(), sines.data(), half);
  }
  for (int64_t c = 0; c < q_cols; ++c) q[c] = context.stored(row[c]);
  const float* k = row + q_cols;
  const int32_t page_row = table_row(p.runs, run);
  const float* v = k + int64_t{kv.kv_heads} * kv.k_dim;
  for (int32_t h = 0; h < kv.kv_heads; ++h) {
    const int64_t at = cache_row(kv, page_row, h, position);
    write_cache(kv.k, kv.k_dtype, at, kv.k_dim, k + int64_t{h} * kv.k_dim, 1.0f);
    write_cache(kv.v, kv.v_dtype, at, kv.v_dim, v + int64_t{h} * kv.v_dim, p.value_scale);
  }
}

}  // namespace

int32_t table_row(const Runs& runs, int32_t run) {
  return runs.slot == nullptr ? run : runs.slot[run];
}

int64_t cache_row(const PagedKv& kv, int32_t row, int32_t head, int32_t position) {
  const int32_t entry = position / kv.page_tokens % kv.stride;
  const int64_t page = kv.pages[int64_t{row} * kv.stride + entry];
  CHECK_GE(page, 0);
  return (page * kv.kv_heads + head) * kv.page_tokens + position % kv.page_tokens;
}

void qkv(CpuContext& context, const QkvParams& p) {
  const PackedLinear& w = context.linears.at(p.qkv.index);
  const PagedKv& kv = p.kv;
  CHECK_EQ(w.rows(), p.num_q_heads * kv.k_dim + kv.kv_heads * (kv.k_dim + kv.v_dim));
  CHECK_EQ(w.cols(), p.x.cols);
  CHECK(p.rotary_dim >= 0 && p.rotary_dim <= kv.k_dim && p.rotary_dim % 2 == 0);
  Workspace& space = context.workspace;
  const int32_t num_tokens = p.runs.num_tokens;
  const ProductInput x = product_input(context, w, static_cast<const float*>(p.x.values),
                                       num_tokens, space.quantised, space.scales);
  float* wide = grown(space.wide, int64_t{num_tokens} * w.rows());
  product(context, w, x, num_tokens, wide);
  const Rotation rotation = rotation_of(p);
  context.pool.run(num_tokens, int64_t{num_tokens} * (w.rows() * 4 + p.rotary_dim * 200),
                   [&](int64_t t) {
                     finish_row(context, p, rotation, static_cast<int32_t>(t), wide + t * w.rows());
                   });
}

}  // namespace mimo::kernels
