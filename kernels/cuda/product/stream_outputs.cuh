#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/product/qkv_target.cuh"
#include "kernels/cuda/product/stream_args.h"
#include "kernels/cuda/product/stream_inputs.cuh"

// Which weight rows a warp multiplies together, and where their results go. A thread holds results
// of two rows, a and b, of the sixteen; which two is free, so those that belong together (gate and
// up, the two halves of a rotation) are put there.
namespace mimo::kernels::cuda::product {

// The two weight rows of lane group `g` (0 .. 7) of sixteen rows; -1: there is none.
struct RowPair {
  int32_t a;
  int32_t b;
  int32_t frequency;  // rotary rows: which; else -1
};

__device__ __forceinline__ RowPair qkv_rows(const QkvTarget& target, int32_t sixteen, int32_t g) {
  const int32_t per_head = target.k_dim / kStreamRows;
  const int32_t num_rotated = target.num_q_heads + target.kv_heads;
  const int32_t head = sixteen / per_head;
  if (head >= num_rotated) {
    const int32_t a =
        num_rotated * target.k_dim + (sixteen - num_rotated * per_head) * kStreamRows + g;
    return {a, a + 8, -1};
  }
  const int32_t part = sixteen - head * per_head;
  const int32_t turned = target.half / 8;
  if (part < turned) {
    const int32_t a = head * target.k_dim + part * 8 + g;
    return {a, a + target.half, part * 8 + g};
  }
  const int32_t a = head * target.k_dim + 2 * target.half + (part - turned) * kStreamRows + g;
  return {a, a + 8, -1};
}

__device__ __forceinline__ RowPair row_pair(const StreamArgs& p, int32_t sixteen, int32_t g) {
  RowPair out;
  int32_t end = p.rows;
  if (p.out_kind == StreamOut::kSiluMul) {
    end = p.rows / 2;
    out = {sixteen * 8 + g, end + sixteen * 8 + g, -1};
    if (out.a >= end) return {-1, -1, -1};
    return out;
  }
  if (p.out_kind == StreamOut::kQkv) {
    out = qkv_rows(p.target, sixteen, g);
  } else {
    out = {sixteen * kStreamRows + g, sixteen * kStreamRows + 8 + g, -1};
  }
  if (out.a >= end) out.a = -1;
  if (out.b >= end) out.b = -1;
  return out;
}

// The weight rows of lane group `g` of sixteen rows, in the order of the boxes.
__device__ __forceinline__ RowPair swap_rows(const StreamArgs& p, int32_t sixteen, int32_t g) {
  if (p.out_kind != StreamOut::kQkv) return row_pair(p, sixteen, g);
  const int32_t first = sixteen / 4 * 64;
  if (first >= p.rows) return {-1, -1, -1};
  const int32_t in_half = sixteen % 4 * 8 + g;
  const int32_t rotated = (p.target.num_q_heads + p.target.kv_heads) * p.target.k_dim;
  const bool turns = first < rotated && first % p.target.k_dim == 0;
  return {first + in_half, first + 32 + in_half, turns ? in_half : -1};
}

__device__ __forceinline__ float silu_mul(float gate, float up) {
  return gate / (1.0f + __expf(-gate)) * up;
}

// The results of one token for rows a and b.
__device__ __forceinline__ void put_qkv(const StreamArgs& p, const RowPair& rows, Place place,
                                        int32_t token, float a, float b) {
  if (rows.frequency >= 0) {
    float sine;
    float cosine;
    sincosf(static_cast<float>(place.position) * p.target.frequencies[rows.frequency], &sine,
            &cosine);
    const float turned = a * cosine - b * sine;
    b = b * cosine + a * sine;
    a = turned;
  }
  if (rows.a >= 0) put_away(p.target, place, token, rows.a, a);
  if (rows.b >= 0) put_away(p.target, place, token, rows.b, b);
}

__device__ __forceinline__ void put(const StreamArgs& p, const RowPair& rows, int64_t row, float a,
                                    float b) {
  if (p.out_kind == StreamOut::kF32) {
    float* const out = static_cast<float*>(p.out) + row * p.out_cols;
    if (rows.a >= 0) out[rows.a] = a;
    if (rows.b >= 0) out[rows.b] = b;
    return;
  }
  auto* const out = static_cast<__nv_bfloat16*>(p.out) + row * p.out_cols;
  if (p.out_kind == StreamOut::kSiluMul) {
    if (rows.a >= 0) out[rows.a] = __float2bfloat16(silu_mul(a, b));
    return;
  }
  if (rows.a >= 0) out[rows.a] = __float2bfloat16(a);
  if (rows.b >= 0) out[rows.b] = __float2bfloat16(b);
}

// A thread's four sums: rows a and b of tokens `token` and the next of the tile.
__device__ __forceinline__ void store_sums(const StreamArgs& p, const RowPair& rows, TokenTile tile,
                                           int32_t token, const float (&sums)[4], uint8_t* shared) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (token + i >= tile.rows) continue;
    const int32_t row = tile.first + token + i;
    if (p.out_kind == StreamOut::kQkv) {
      const Place place = shared_part<Place>(shared, p.shape.places_at)[token + i];
      put_qkv(p, rows, place, row, sums[i], sums[2 + i]);
    } else {
      put(p, rows, row, sums[i], sums[2 + i]);
    }
  }
}

}  // namespace mimo::kernels::cuda::product
