#include "kernels/cuda/product/qkv_target.h"

#include <cmath>

#include "base/check.h"

namespace mimo::kernels::cuda::product {

QkvTarget qkv_target(const QkvParams& p) {
  const PagedKv& kv = p.kv;
  CHECK(p.rotary_dim >= 0 && p.rotary_dim <= kv.k_dim && p.rotary_dim % 2 == 0);
  CHECK_LE(p.rotary_dim / 2, kFrequenciesMax);
  CHECK(kv.k_dtype == DType::kBf16 && kv.v_dtype == DType::kBf16);
  CHECK(kv.stride > 0 && kv.page_tokens > 0);
  QkvTarget out;
  out.q = p.q;
  out.k = kv.k;
  out.v = kv.v;
  out.row_begin = p.runs.row_begin;
  out.context = p.runs.context;
  out.row_run = p.runs.row_run;
  out.slot = p.runs.slot;
  out.pages = kv.pages;
  out.stride = kv.stride;
  out.page_tokens = kv.page_tokens;
  out.num_q_heads = p.num_q_heads;
  out.kv_heads = kv.kv_heads;
  out.k_dim = kv.k_dim;
  out.v_dim = kv.v_dim;
  out.half = p.rotary_dim / 2;
  out.value_scale = p.value_scale;
  for (int32_t i = 0; i < out.half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(p.rotary_dim);
    const auto power = static_cast<float>(std::pow(p.rope_theta, double{exponent}));
    out.frequencies[i] = 1.0f / power;
  }
  return out;
}

bool rotates_in_place(const QkvTarget& target) {
  return target.half % 8 == 0 && target.k_dim % 16 == 0 && target.kv_heads * target.v_dim % 16 == 0;
}

}  // namespace mimo::kernels::cuda::product
