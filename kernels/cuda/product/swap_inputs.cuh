#pragma once

#include <cstdint>

#include "kernels/cuda/product/instructions.cuh"
#include "kernels/cuda/product/stream_inputs.cuh"
#include "kernels/cuda/product/swap_args.h"
#include "kernels/device/cp_async.cuh"
#include "kernels/device/fp8.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/reduce.cuh"

// A slice of a tile's tokens on its way to shared memory: [block][token][128 bytes], 16-byte chunk
// c of token t at c ^ (t % 8), as wgmma reads it; with FP8 their scales [block][token]. Tokens that
// are not there keep what was there: they only spoil results of their own, which nobody stores.
namespace mimo::kernels::cuda::product {

constexpr int32_t kSwapMathThreads = 256;
constexpr int32_t kSwapMathWarps = kSwapMathThreads / 32;

// Column blocks of a weight row.
struct Slice {
  int32_t begin;
  int32_t end;
};

// Where 16 bytes of a token lie.
template <int kTokens>
__device__ __forceinline__ int32_t chunk_at(int32_t block, int32_t token, int32_t chunk) {
  return (block * kTokens + token) * kColumnBlockBytes + (chunk ^ (token % 8)) * 16;
}

// A tile and, where rows of x are chosen by a list, which they are: lane i has those of tokens i
// and i + 32.
template <int kTokens>
struct TileRows {
  static constexpr int kLists = (kTokens + 31) / 32;

  // Asked for ahead of need; `tile` is there.
  __device__ __forceinline__ void find_rows(const StreamArgs& p) {
#pragma unroll
    for (int l = 0; l < kLists; ++l) {
      const int32_t token = static_cast<int32_t>(threadIdx.x % 32) + l * 32;
      rows[l] = token < tile.rows ? input_row(p, tile.first + token) : 0;
    }
  }
  // Whole warps.
  __device__ __forceinline__ int32_t row(int32_t token) const {
    int32_t out = __shfl_sync(~0u, rows[0], token % 32);
    if constexpr (kLists == 2) {
      const int32_t second = __shfl_sync(~0u, rows[1], token % 32);
      if (token >= 32) out = second;
    }
    return out;
  }

  TokenTile tile = {};
  int32_t rows[kLists];
};

template <int kTokens>
__device__ __forceinline__ void copy_slice(const StreamArgs& p, const TileRows<kTokens>& from,
                                           Slice slice, uint32_t tokens, int32_t x_row_bytes) {
  constexpr int kChunks = kColumnBlockBytes / 16;
  const int32_t chunks = (slice.end - slice.begin) * kChunks;
  const int32_t count = from.tile.rows * chunks;
  const auto* const x = static_cast<const uint8_t*>(p.x);
#pragma unroll 4
  for (int32_t begin = 0; begin < count; begin += kSwapMathThreads) {
    const int32_t i = begin + static_cast<int32_t>(threadIdx.x);
    const int32_t token = i / chunks;
    const int64_t row = from.row(token);
    if (i >= count) continue;
    const int32_t chunk = i - token * chunks;
    const int32_t col = slice.begin * kColumnBlockBytes + chunk * 16;
    const bool there = col < x_row_bytes;
    device::copy_async_16(tokens + chunk_at<kTokens>(chunk / kChunks, token, chunk % kChunks),
                          x + row * x_row_bytes + (there ? col : 0), there);
  }
}

template <int kTokens>
__device__ __forceinline__ void copy_slice_scales(const StreamArgs& p,
                                                  const TileRows<kTokens>& from, Slice slice,
                                                  uint32_t scales) {
  const int32_t blocks = slice.end - slice.begin;
  const int32_t count = from.tile.rows * blocks;
  for (int32_t begin = 0; begin < count; begin += kSwapMathThreads) {
    const int32_t i = begin + static_cast<int32_t>(threadIdx.x);
    const int32_t token = i / blocks;
    const int64_t row = from.row(token);
    if (i >= count) continue;
    const int32_t block = i - token * blocks;
    copy_async_4(scales + (block * kTokens + token) * 4,
                 p.x_scales + row * p.scale_cols + slice.begin + block, true);
  }
}

// bf16 rows as e4m3, a scale for each token and 128 columns: a warp takes such a group.
template <int kTokens>
__device__ __forceinline__ void quantise_slice(const StreamArgs& p, TokenTile tile, Slice slice,
                                               uint8_t* tokens, float* scales) {
  constexpr int kBatch = 8;
  constexpr int kWarps = kSwapMathThreads / 32;
  const int32_t lane = threadIdx.x % 32;
  const int32_t blocks = slice.end - slice.begin;
  const int32_t count = tile.rows * blocks;
  for (int32_t begin = threadIdx.x / 32; begin < count; begin += kBatch * kWarps) {
    float4 x[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int32_t i = begin + b * kWarps;
      const int32_t token = i / blocks;
      const int32_t col = (slice.begin + i - token * blocks) * 128 + lane * 4;
      x[b] = i < count ? four_columns(p, input_row(p, tile.first + token), col)
                       : make_float4(0, 0, 0, 0);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int32_t i = begin + b * kWarps;
      if (i >= count) break;
      const int32_t token = i / blocks;
      const int32_t block = i - token * blocks;
      const float largest = device::lanes_max(
          fmaxf(fmaxf(fabsf(x[b].x), fabsf(x[b].y)), fmaxf(fabsf(x[b].z), fabsf(x[b].w))));
      const float scale = device::fp8_scale(largest);
      const float inverse = __frcp_rn(scale);
      *reinterpret_cast<uint32_t*>(tokens + chunk_at<kTokens>(block, token, lane / 4) +
                                   lane % 4 * 4) =
          device::pack_e4m3(__fmul_rn(x[b].x, inverse), __fmul_rn(x[b].y, inverse),
                            __fmul_rn(x[b].z, inverse), __fmul_rn(x[b].w, inverse));
      if (lane == 0) scales[block * kTokens + token] = scale;
    }
  }
}

// All math threads call; wgmma may read the tokens after their next barrier.
template <int kTokens, bool kFp8>
__device__ __forceinline__ void load_slice(const SwapArgs& p, const TileRows<kTokens>& from,
                                           Slice slice, uint8_t* shared) {
  const TokenTile tile = from.tile;
  uint8_t* const tokens = shared + p.shape.tokens_at;
  float* const scales = shared_part<float>(shared, p.shape.token_scales_at);
  if (kFp8 && p.stream.x_scales == nullptr) {
    quantise_slice<kTokens>(p.stream, tile, slice, tokens, scales);
  } else {
    copy_slice<kTokens>(p.stream, from, slice, device::shared_address(tokens),
                        p.stream.cols * (kFp8 ? 1 : 2));
    if (kFp8) copy_slice_scales<kTokens>(p.stream, from, slice, device::shared_address(scales));
    device::copy_async_commit();
    device::copy_async_wait<0>();
  }
  if (p.stream.out_kind == StreamOut::kQkv && static_cast<int32_t>(threadIdx.x) < tile.rows) {
    shared_part<Place>(shared, p.shape.places_at)[threadIdx.x] =
        place_of(p.stream.target, tile.first + static_cast<int32_t>(threadIdx.x));
  }
  device::fence_shared_for_async();
}

}  // namespace mimo::kernels::cuda::product
