#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace mimo::kernels::cuda::product {

constexpr int32_t kFrequenciesMax = 128;

// Where the rows of a [q | k | v] product go, and how their heads are rotated: QkvParams as kernels
// take it.
struct QkvTarget {
  int32_t first_row = 0;  // of the step: the product's row 0
  void* q = nullptr;      // [T, num_q_heads, k_dim] bf16, from that row on
  void* k = nullptr;      // [num_pages][kv_heads][page_tokens][k_dim] bf16
  void* v = nullptr;      // [num_pages][kv_heads][page_tokens][v_dim] bf16
  const int32_t* row_begin = nullptr;
  const int32_t* context = nullptr;
  const int32_t* row_run = nullptr;
  const int32_t* slot = nullptr;
  const int32_t* pages = nullptr;
  int32_t stride = 0;
  int32_t page_tokens = 0;
  int32_t num_q_heads = 0;
  int32_t kv_heads = 0;
  int32_t k_dim = 0;
  int32_t v_dim = 0;
  int32_t half = 0;  // rotary_dim / 2
  float value_scale = 1.0f;
  float frequencies[kFrequenciesMax] = {};  // [half]: 1 / theta^(2 i / rotary_dim)
};

// CHECKs the sizes and the cache's dtypes.
QkvTarget qkv_target(const QkvParams& p);

// Whether 16 rows of the product never hold parts of two heads, so that the streaming kernel can
// rotate what it has summed.
bool rotates_in_place(const QkvTarget& target);

}  // namespace mimo::kernels::cuda::product
