#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/product/qkv_target.cuh"
#include "kernels/cuda/product/slab_args.h"
#include "kernels/cuda/product/stream_outputs.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/quad.cuh"

// Where the results of a slab go. A unit's 128 rows are eight pairs of eights, whose results belong
// together: gate and up, the two halves of a rotation, or simply neighbours. A thread holds of a
// pair two columns each of tokens g and g + 8 of sixteen (g = lane / 4).
namespace mimo::kernels::cuda::product {

// The weight row of the first result of a pair, and that of the second.
struct PairRows {
  int32_t a;
  int32_t b;
};
__device__ __forceinline__ PairRows slab_pair(const StreamArgs& p, int32_t unit, int32_t pair) {
  if (p.out_kind == StreamOut::kSiluMul) {
    const int32_t a = unit * (kSlabRows / 2) + pair * 8;
    return {a, p.rows / 2 + a};
  }
  if (p.out_kind == StreamOut::kQkv) {
    const int32_t a = unit * kSlabRows + pair / 4 * 64 + pair % 4 * 8;
    return {a, a + 32};
  }
  const int32_t a = unit * kSlabRows + pair * kStreamRows;
  return {a, a + 8};
}

// Whether the 64 rows from `first` on are halves of a rotation.
__device__ __forceinline__ bool slab_turns(const StreamArgs& p, int32_t first) {
  const int32_t rotated = (p.target.num_q_heads + p.target.kv_heads) * p.target.k_dim;
  return p.out_kind == StreamOut::kQkv && first < rotated && first % p.target.k_dim == 0;
}

// Two neighbouring columns of both results of a pair, for one token.
struct PairSums {
  float2 a;
  float2 b;
};

// sine and cosine of the two columns: {s, c, s, c}.
__device__ __forceinline__ void turn(PairSums& x, float4 by) {
  const float2 a = x.a;
  x.a = make_float2(a.x * by.y - x.b.x * by.x, a.y * by.w - x.b.y * by.z);
  x.b = make_float2(x.b.x * by.y + a.x * by.x, x.b.y * by.w + a.y * by.z);
}

// Where the eight columns from weight row `row` on go in row 0 of the output, of q or of the cache;
// null: they are not there.
__device__ __forceinline__ __nv_bfloat16* slab_column(const StreamArgs& p, int32_t row) {
  if (p.out_kind != StreamOut::kQkv) {
    return row < p.out_cols ? static_cast<__nv_bfloat16*>(p.out) + row : nullptr;
  }
  if (row >= p.rows) return nullptr;
  const QkvTarget& target = p.target;
  const int32_t q_cols = target.num_q_heads * target.k_dim;
  const int32_t v_row = q_cols + target.kv_heads * target.k_dim;
  if (row < q_cols) return static_cast<__nv_bfloat16*>(target.q) + row;
  const bool is_v = row >= v_row;
  const int32_t dim = is_v ? target.v_dim : target.k_dim;
  const int32_t col = row - (is_v ? v_row : q_cols);
  return static_cast<__nv_bfloat16*>(is_v ? target.v : target.k) +
         int64_t{col / dim} * target.page_tokens * dim + col % dim;
}

// What the results of a unit's half, 64 rows, have in common: heads are whole 64 rows, so all are
// of q, or of k, or of v.
struct SlabHalf {
  __device__ __forceinline__ SlabHalf(const StreamArgs& p, int32_t first) : row_cols(p.out_cols) {
    if (p.out_kind != StreamOut::kQkv) return;
    const QkvTarget& target = p.target;
    const int32_t q_cols = target.num_q_heads * target.k_dim;
    cached = first >= q_cols;
    const bool is_v = first >= q_cols + target.kv_heads * target.k_dim;
    if (is_v) factor = target.value_scale;
    row_cols = cached ? (is_v ? target.v_dim : target.k_dim) : q_cols;
  }

  int32_t row_cols;  // from one row to the next
  float factor = 1.0f;
  bool cached = false;
};

// kPairs pairs of one row of the output or the cache; -1: it is not kept. `columns` are of the
// first pair's a, its b, and so on. Whole warps.
template <int kPairs>
__device__ __forceinline__ void store_pairs(const StreamArgs& p, const SlabHalf& half,
                                            __nv_bfloat16* const* columns, int32_t row,
                                            const PairSums (&x)[kPairs]) {
  static_assert(kPairs % 2 == 0, "quads of eights");
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const int64_t at = int64_t{row} * half.row_cols;
  if (p.out_kind == StreamOut::kSiluMul) {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      if (row < 0 || columns[2 * i] == nullptr) continue;
      *reinterpret_cast<uint32_t*>(columns[2 * i] + at + lane % 4 * 2) =
          device::pack_bf16(silu_mul(x[i].a.x, x[i].b.x), silu_mul(x[i].a.y, x[i].b.y));
    }
    return;
  }
#pragma unroll
  for (int quad = 0; quad < kPairs / 2; ++quad) {
    // Four of all the pairs' a, then their b; a lane stores one.
    uint32_t v[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int i = quad * 4 + k;
      const float2 from = i < kPairs ? x[i % kPairs].a : x[i % kPairs].b;
      v[k] = device::pack_bf16(from.x * half.factor, from.y * half.factor);
    }
    device::turn_quad(v);
    const int32_t mine = quad * 4 + lane % 4;
    __nv_bfloat16* const to = columns[mine % kPairs * 2 + mine / kPairs];
    if (row < 0 || to == nullptr) continue;
    *reinterpret_cast<uint4*>(to + at) = make_uint4(v[0], v[1], v[2], v[3]);
  }
}

}  // namespace mimo::kernels::cuda::product
