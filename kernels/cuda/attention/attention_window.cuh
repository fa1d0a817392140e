#pragma once

#include "kernels/cuda/attention/attention_decode.cuh"

// Runs of few rows in layers with a short window: all keys that a unit sees lie in shared memory at
// once, so that all copies are under way together. Key 0 is the first that some row sees, wherever
// in a page it stands.
namespace mimo::kernels::cuda {

template <typename Tile>
struct WindowShape {
  static constexpr int kKeyBytes = 2 * kWindowKeysMax * Tile::kKeyStride;
  static constexpr int kBytes = kKeyBytes + 2 * kWindowKeysMax * Tile::kValueStride;
  // With queries of so many times 16 packed rows behind.
  static constexpr int bytes(int row_tiles) {
    return kBytes + 2 * 16 * row_tiles * Tile::kKeyStride;
  }
};

// Keys and values, 16 times so many as the unit sees at least; zeros behind them.
template <typename Tile>
__device__ void copy_window(const AttentionArgs& p, const AttentionUnit& unit, uint32_t to) {
  constexpr int kPassRows = Tile::kThreads / 8;
  constexpr int kPasses = (kWindowKeysMax + kPassRows - 1) / kPassRows;
  const int part = threadIdx.x % 8 * 8;
  const int num = unit.key_end - unit.key_begin;
  const int padded = (num + 15) / 16 * 16;
  int32_t pages[kPasses];
#pragma unroll
  for (int i = 0; i < kPasses; ++i) {
    const int row = i * kPassRows + static_cast<int>(threadIdx.x) / 8;
    const int key = unit.key_begin + row;
    pages[i] = row < num ? unit.table[(key >> p.page_shift) % p.stride] : 0;
  }
#pragma unroll
  for (int i = 0; i < kPasses; ++i) {
    const int row = i * kPassRows + static_cast<int>(threadIdx.x) / 8;
    if (row >= padded) break;
    const bool there = row < num;
    const uint32_t first = static_cast<uint32_t>(pages[i] * p.kv_heads + unit.head) << p.page_shift;
    const uint32_t at = first + ((unit.key_begin + row) & ((1 << p.page_shift) - 1));
    const uint16_t* const k = p.k + uint64_t{at} * static_cast<uint32_t>(p.k_dim) + part;
    const uint16_t* const v = p.v + uint64_t{at} * static_cast<uint32_t>(p.v_dim) + part;
    const uint32_t to_key = to + 2 * (row * Tile::kKeyStride + part);
    const uint32_t to_value =
        to + WindowShape<Tile>::kKeyBytes + 2 * (row * Tile::kValueStride + part);
#pragma unroll
    for (int c = 0; c < Tile::kK; c += 64) {
      const bool inside = there && c + part < p.k_dim;
      copy_async_16(to_key + 2 * c, inside ? k + c : p.k, inside);
    }
#pragma unroll
    for (int c = 0; c < Tile::kV; c += 64) {
      const bool inside = there && c + part < p.v_dim;
      copy_async_16(to_value + 2 * c, inside ? v + c : p.v, inside);
    }
  }
}

// --- Kernel: grid (tiles * kv_heads, runs) ------------------------------------------------------
template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 2)
    attention_window_kernel(const __grid_constant__ AttentionArgs p) {
  static_assert(Tile::kRows == kDecodeTileRows && kWindowKeysMax % 16 == 0, "rows are counted so");
  static_assert(sizeof(WarpSums<Tile>) <= WindowShape<Tile>::kBytes, "they share memory");
  extern __shared__ __align__(128) uint8_t attention_shared[];
  device::let_next_start();
  device::wait_for_inputs();

  const int run = static_cast<int>(blockIdx.y);
  const int head = static_cast<int>(blockIdx.x) % p.kv_heads;
  const int first = static_cast<int>(blockIdx.x) / p.kv_heads * kDecodeTileRows;
  const RunPlace place = place_of(p, run);
  if (place.rows > kDecodeRowsMax) return;
  const AttentionUnit unit = unit_at(p, place, run, head, first, kDecodeTileRows);
  if (unit.num_rows <= 0) return;
  if (unit.key_end <= 0) return write_zeros<Tile>(p, unit);

  const int row_tiles = unit.num_rows <= 16 ? 1 : unit.num_rows <= 32 ? 2 : 4;
  const uint32_t keys_at = shared_address(attention_shared);
  const uint32_t queries_at = keys_at + WindowShape<Tile>::kBytes;
  copy_window<Tile>(p, unit, keys_at);
  copy_queries<Tile>(p, unit, 16 * row_tiles, queries_at);
  copy_async_commit();

  const int warp = threadIdx.x / 32;
  const int row_tile = warp % row_tiles;
  const Sight sight = sight_of(p, unit, 16 * row_tile);
  const int num = unit.key_end - unit.key_begin;
  RowSums<Tile> sums;
  Queries<Tile> queries;
  queries.load(queries_at + 2 * 16 * row_tile * Tile::kKeyStride);
  copy_async_wait<0>();
  __syncthreads();
  for (int at = warp / row_tiles * 16; at < num; at += Tile::kWarps / row_tiles * 16) {
    float scores[2][4];
    score<Tile, 2, 2>(scores, queries, keys_at + 2 * at * Tile::kKeyStride);
    mask(scores, sight, unit.key_begin + at);
    sums.weigh(scores, p.scale_log2);
    sums.add(scores, keys_at + WindowShape<Tile>::kKeyBytes + 2 * at * Tile::kValueStride);
  }
  sums.add_lanes();

  __syncthreads();
  auto& shared = *reinterpret_cast<WarpSums<Tile>*>(attention_shared);
  share_sums(sums, shared, warp);
  __syncthreads();
  put_rows(p, unit, /*whole=*/true, 0, row_tiles, shared);
}

}  // namespace mimo::kernels::cuda
