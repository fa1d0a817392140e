#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/product/qkv_target.cuh"
#include "kernels/cuda/product/stream_args.h"
#include "kernels/device/fp8.cuh"
#include "kernels/device/reduce.cuh"

// The tokens of a block on their way to shared memory: [token][shape.token_pitch] bytes, columns
// past the last one zero up to a multiple of 128 bytes, and with FP8 their scales [k_blocks]
// [token_rows]. Tokens that are not there keep what was there: they only spoil results of their
// own, which nobody stores.
namespace mimo::kernels::cuda::product {

constexpr int32_t kStreamThreads = kStreamWarps * 32;

// At most token_rows rows that are multiplied by the same weights.
struct TokenTile {
  int32_t first;  // row of the output
  int32_t rows;
};

template <typename T>
__device__ __forceinline__ T* shared_part(uint8_t* shared, int32_t at) {
  return reinterpret_cast<T*>(shared + at);
}

// x's row of a row of the output.
__device__ __forceinline__ int32_t input_row(const StreamArgs& p, int32_t row) {
  return p.pairs_div == 0 ? row : p.pairs[row] / p.pairs_div;
}

// Rows as they are, 16 bytes at a time.
__device__ __forceinline__ void copy_vectors(const StreamArgs& p, TokenTile tile, uint8_t* shared,
                                             int32_t x_row_bytes) {
  constexpr int kBatch = 8;  // loads under way: the L2 answers after some 300 ns
  const int32_t vectors = p.shape.k_blocks * (kColumnBlockBytes / 16);
  const int32_t count = tile.rows * vectors;
  uint8_t* const tokens = shared + p.shape.tokens_at;
  const auto* const x = static_cast<const uint8_t*>(p.x);
  for (int32_t begin = threadIdx.x; begin < count; begin += kBatch * kStreamThreads) {
    uint4 values[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int32_t i = begin + b * kStreamThreads;
      const int32_t token = i / vectors;
      const int32_t at = (i - token * vectors) * 16;
      values[b] = make_uint4(0, 0, 0, 0);
      if (i < count && at < x_row_bytes) {
        const int64_t row = input_row(p, tile.first + token);
        values[b] = *reinterpret_cast<const uint4*>(x + row * x_row_bytes + at);
      }
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int32_t i = begin + b * kStreamThreads;
      const int32_t token = i / vectors;
      if (i >= count) break;
      *reinterpret_cast<uint4*>(tokens + token * p.shape.token_pitch + (i - token * vectors) * 16) =
          values[b];
    }
  }
}

// Rows of any width.
__device__ __forceinline__ void copy_bytes(const StreamArgs& p, TokenTile tile, uint8_t* shared,
                                           int32_t x_row_bytes) {
  const int32_t width = p.shape.k_blocks * kColumnBlockBytes;
  uint8_t* const tokens = shared + p.shape.tokens_at;
  for (int32_t i = threadIdx.x; i < tile.rows * width; i += kStreamThreads) {
    const int32_t token = i / width;
    const int32_t at = i % width;
    const int64_t row = input_row(p, tile.first + token);
    tokens[token * p.shape.token_pitch + at] =
        at < x_row_bytes ? static_cast<const uint8_t*>(p.x)[row * x_row_bytes + at] : uint8_t{0};
  }
}

__device__ __forceinline__ void copy_scales(const StreamArgs& p, TokenTile tile, uint8_t* shared) {
  float* const scales = shared_part<float>(shared, p.shape.token_scales_at);
  for (int32_t i = threadIdx.x; i < tile.rows * p.scale_cols; i += kStreamThreads) {
    const int32_t token = i / p.scale_cols;
    const int32_t block = i - token * p.scale_cols;
    const int64_t row = input_row(p, tile.first + token);
    scales[block * p.shape.token_rows + token] = p.x_scales[row * p.scale_cols + block];
  }
}

// Four bf16 columns of a row, zeros past the last one.
__device__ __forceinline__ float4 four_columns(const StreamArgs& p, int64_t row, int32_t col) {
  const auto* const x = static_cast<const __nv_bfloat16*>(p.x) + row * p.cols;
  if (p.cols % 4 == 0) {
    if (col >= p.cols) return make_float4(0, 0, 0, 0);
    const uint2 bits = *reinterpret_cast<const uint2*>(x + col);
    return make_float4(__uint_as_float(bits.x << 16), __uint_as_float(bits.x & 0xffff0000u),
                       __uint_as_float(bits.y << 16), __uint_as_float(bits.y & 0xffff0000u));
  }
  const auto at = [&](int32_t c) { return c < p.cols ? __bfloat162float(x[c]) : 0.0f; };
  return make_float4(at(col), at(col + 1), at(col + 2), at(col + 3));
}

// bf16 rows as e4m3, a scale for each token and 128 columns: a warp takes such a group.
__device__ __forceinline__ void quantise_rows(const StreamArgs& p, TokenTile tile,
                                              uint8_t* shared) {
  constexpr int kBatch = 4;
  const int32_t lane = threadIdx.x % 32;
  const int32_t count = tile.rows * p.shape.k_blocks;
  uint8_t* const tokens = shared + p.shape.tokens_at;
  float* const scales = shared_part<float>(shared, p.shape.token_scales_at);
  for (int32_t begin = threadIdx.x / 32; begin < count; begin += kBatch * kStreamWarps) {
    float4 x[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int32_t i = begin + b * kStreamWarps;
      const int32_t token = i / p.shape.k_blocks;
      const int32_t col = (i - token * p.shape.k_blocks) * 128 + lane * 4;
      x[b] = i < count ? four_columns(p, input_row(p, tile.first + token), col)
                       : make_float4(0, 0, 0, 0);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int32_t i = begin + b * kStreamWarps;
      if (i >= count) break;
      const int32_t token = i / p.shape.k_blocks;
      const int32_t block = i - token * p.shape.k_blocks;
      const float largest = device::lanes_max(
          fmaxf(fmaxf(fabsf(x[b].x), fabsf(x[b].y)), fmaxf(fabsf(x[b].z), fabsf(x[b].w))));
      const float scale = device::fp8_scale(largest);
      const float inverse = __frcp_rn(scale);
      *reinterpret_cast<uint32_t*>(tokens + token * p.shape.token_pitch +
                                   block * kColumnBlockBytes + lane * 4) =
          device::pack_e4m3(__fmul_rn(x[b].x, inverse), __fmul_rn(x[b].y, inverse),
                            __fmul_rn(x[b].z, inverse), __fmul_rn(x[b].w, inverse));
      if (lane == 0) scales[block * p.shape.token_rows + token] = scale;
    }
  }
}

// All threads of the block call; the tokens are there after the next barrier.
template <bool kFp8>
__device__ __forceinline__ void load_tokens(const StreamArgs& p, TokenTile tile, uint8_t* shared) {
  if (kFp8 && p.x_scales == nullptr) {
    quantise_rows(p, tile, shared);
  } else {
    const int32_t x_row_bytes = p.cols * (kFp8 ? 1 : 2);
    if (p.whole_vectors) {
      copy_vectors(p, tile, shared, x_row_bytes);
    } else {
      copy_bytes(p, tile, shared, x_row_bytes);
    }
    if (kFp8) copy_scales(p, tile, shared);
  }
  if (p.out_kind == StreamOut::kQkv && static_cast<int32_t>(threadIdx.x) < tile.rows) {
    shared_part<Place>(shared, p.shape.places_at)[threadIdx.x] =
        place_of(p.target, tile.first + static_cast<int32_t>(threadIdx.x));
  }
}

}  // namespace mimo::kernels::cuda::product
