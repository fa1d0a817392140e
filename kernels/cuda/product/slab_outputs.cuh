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

// Where kPairs pairs from `first_pair` on of a unit go: four (two) eights at a time, of which a
// lane stores one.
template <int kPairs>
struct SlabColumns {
  static_assert(kPairs % 2 == 0, "quads of eights");
  static constexpr int kQuads = kPairs / 2;

  __device__ __forceinline__ SlabColumns(const StreamArgs& p, int32_t unit, int32_t first_pair) {
    const auto lane = static_cast<int32_t>(threadIdx.x % 32);
    const QkvTarget& target = p.target;
    const bool heads = p.out_kind == StreamOut::kQkv;
    const int32_t q_cols = target.num_q_heads * target.k_dim;
    const int32_t v_row = q_cols + target.kv_heads * target.k_dim;
    const int32_t first = slab_pair(p, unit, first_pair).a;
    // Heads are whole 64 rows: all these are of q, or of k, or of v.
    cached = heads && first >= q_cols;
    const bool is_v = heads && first >= v_row;
    if (is_v) factor = target.value_scale;
    const int32_t dim = is_v ? target.v_dim : target.k_dim;
    row_cols = cached ? dim : heads ? q_cols : p.out_cols;
    void* const out = is_v ? target.v : cached ? target.k : heads ? target.q : p.out;
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      const int32_t i = quad * 4 + lane % 4;  // first all the pairs' a, then all their b
      const PairRows rows = slab_pair(p, unit, first_pair + i % kPairs);
      const int32_t row = i < kPairs ? rows.a : rows.b;
      to[quad] = nullptr;
      if (row >= p.rows) continue;
      int64_t at = row;
      if (cached) {
        const int32_t col = row - (is_v ? v_row : q_cols);
        at = int64_t{col / dim} * target.page_tokens * dim + col % dim;
      }
      to[quad] = static_cast<__nv_bfloat16*>(out) + at;
    }
    if (p.out_kind == StreamOut::kSiluMul) first_col = first + lane % 4 * 2;
  }

  // Whole warps. `row` of the output or the cache; -1: it is not kept.
  __device__ __forceinline__ void store(const StreamArgs& p, int32_t row,
                                        const PairSums (&x)[kPairs]) const {
    if (first_col >= 0) return store_silu(p, row, x);
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      uint32_t v[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int i = quad * 4 + k;
        const float2 from = i < kPairs ? x[i % kPairs].a : x[i % kPairs].b;
        v[k] = device::pack_bf16(from.x * factor, from.y * factor);
      }
      device::turn_quad(v);
      if (row < 0 || to[quad] == nullptr) continue;
      *reinterpret_cast<uint4*>(to[quad] + int64_t{row} * row_cols) =
          make_uint4(v[0], v[1], v[2], v[3]);
    }
  }
  __device__ __forceinline__ void store_silu(const StreamArgs& p, int32_t row,
                                             const PairSums (&x)[kPairs]) const {
    if (row < 0) return;
    auto* const out = static_cast<__nv_bfloat16*>(p.out) + int64_t{row} * row_cols;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int32_t col = first_col + i * 8;
      if (col >= row_cols) continue;
      *reinterpret_cast<uint32_t*>(out + col) =
          device::pack_bf16(silu_mul(x[i].a.x, x[i].b.x), silu_mul(x[i].a.y, x[i].b.y));
    }
  }

  __nv_bfloat16* to[kQuads];  // of row 0
  int32_t row_cols;           // from one row to the next
  int32_t first_col = -1;     // of the thread; silu(gate) * up only
  float factor = 1.0f;
  bool cached;
};

}  // namespace mimo::kernels::cuda::product
