#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/product/qkv_target.h"

namespace mimo::kernels::cuda::product {

// Where a row of the product stands.
struct Place {
  int32_t position;
  int32_t cache_row;  // of the pools' first head; -1: the row writes no cache
};

__device__ __forceinline__ Place place_of(const QkvTarget& target, int32_t token) {
  const int32_t row = target.first_row + token;
  const int32_t run = target.row_run[row];
  // All three asked for before any is looked at: each takes some 300 ns to come.
  const int32_t context = target.context[run];
  const int32_t row_end = target.row_begin[run + 1];
  const int32_t table = target.slot == nullptr ? run : target.slot[run];
  if (context == 0) return {0, -1};
  const int32_t position = context - (row_end - row);
  const int32_t entry = (position / target.page_tokens) % target.stride;
  const int32_t page = target.pages[int64_t{table} * target.stride + entry];
  return {position, page * target.kv_heads * target.page_tokens + position % target.page_tokens};
}

// Element `row` of the product of `token`, which has been rotated.
__device__ __forceinline__ void put_away(const QkvTarget& target, const Place& place, int32_t token,
                                         int32_t row, float value) {
  const int32_t q_cols = target.num_q_heads * target.k_dim;
  if (row < q_cols) {
    static_cast<__nv_bfloat16*>(target.q)[int64_t{token} * q_cols + row] = __float2bfloat16(value);
    return;
  }
  if (place.cache_row < 0) return;
  const int32_t k_cols = target.kv_heads * target.k_dim;
  const bool is_k = row - q_cols < k_cols;
  const int32_t col = is_k ? row - q_cols : row - q_cols - k_cols;
  const int32_t dim = is_k ? target.k_dim : target.v_dim;
  const int64_t at = place.cache_row + int64_t{col / dim} * target.page_tokens;
  auto* const pool = static_cast<__nv_bfloat16*>(is_k ? target.k : target.v);
  pool[at * dim + col % dim] = __float2bfloat16(is_k ? value : value * target.value_scale);
}

}  // namespace mimo::kernels::cuda::product
