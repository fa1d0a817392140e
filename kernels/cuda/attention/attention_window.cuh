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
  static constexpr int kWeightStride = kWindowKeysMax + 8;
  // Queries, and in their place, once they are done with, the softmax's weights.
  static constexpr int kRowBytes =
      2 * (Tile::kKeyStride > kWeightStride ? Tile::kKeyStride : kWeightStride);
  // With so many times 16 packed rows behind.
  static constexpr int bytes(int row_tiles) { return kBytes + 16 * row_tiles * kRowBytes; }
  static constexpr int kChunks = kWindowKeysMax / 16;
};

struct WindowStats {
  float sink[kDecodeTileRows];  // of packed rows, as a power of two
  int32_t out_row[kDecodeTileRows];
  // By 16 keys and packed row: the largest score, as a power of two, and the weights' sum.
  float maximum[kWindowKeysMax / 16][kDecodeTileRows];
  float total[kWindowKeysMax / 16][kDecodeTileRows];
};

// One row of keys and values, by eight threads; zeros where it is not `there`. `page_row`: of the
// pools, where the row's page begins.
template <typename Tile>
__device__ __forceinline__ void copy_window_row(const AttentionArgs& p, uint32_t page_row, int key,
                                                bool there, uint32_t to, int row) {
  const int part = threadIdx.x % 8 * 8;
  const uint32_t at = page_row + (key & ((1 << p.page_shift) - 1));
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

__device__ __forceinline__ uint32_t page_row_of(const AttentionArgs& p, const AttentionUnit& unit,
                                                int key) {
  const auto page = static_cast<uint32_t>(unit.table[(key >> p.page_shift) % p.stride]);
  return (page * p.kv_heads + unit.head) << p.page_shift;
}

// The first `num_old` keys and values, which lay in the cache before this step, and zeros behind
// the last of `num`, up to a multiple of 16.
template <typename Tile>
__device__ void copy_old_window(const AttentionArgs& p, const AttentionUnit& unit, int num_old,
                                int num, uint32_t to) {
  constexpr int kPassRows = Tile::kThreads / 8;
  constexpr int kPasses = (kWindowKeysMax + kPassRows - 1) / kPassRows;
  const int padded = (num + 15) / 16 * 16;
  uint32_t page_rows[kPasses];
#pragma unroll
  for (int i = 0; i < kPasses; ++i) {
    const int row = i * kPassRows + static_cast<int>(threadIdx.x) / 8;
    page_rows[i] = row < num_old ? page_row_of(p, unit, unit.key_begin + row) : 0;
  }
#pragma unroll
  for (int i = 0; i < kPasses; ++i) {
    const int row = i * kPassRows + static_cast<int>(threadIdx.x) / 8;
    if (row < num_old || (row >= num && row < padded)) {
      copy_window_row<Tile>(p, page_rows[i], unit.key_begin + row, row < num_old, to, row);
    }
  }
}

// Of 16 keys in all row tiles, by one warp.
template <typename Tile, int kRowTiles>
struct WindowScores {
  float values[kRowTiles][2][4];

  __device__ __forceinline__ void find(uint32_t queries_at, uint32_t keys_at) {
    constexpr int kChains = kRowTiles == 1 ? 2 : 1;  // more tiles are chains enough
    float sums[kChains][kRowTiles][2][4] = {};
    const uint32_t a_from = queries_at + lane_offset_rows_first<Tile::kKeyStride>();
    const uint32_t b_from = keys_at + lane_offset_columns_first<Tile::kKeyStride>();
#pragma unroll
    for (int c = 0; c < Tile::kK / 16; ++c) {
      uint32_t b[4];
      device::load_matrix_x4(b, b_from + 32 * c);
#pragma unroll
      for (int t = 0; t < kRowTiles; ++t) {
        uint32_t a[4];
        device::load_matrix_x4(a, a_from + 2 * 16 * t * Tile::kKeyStride + 32 * c);
        device::mma_bf16(sums[c % kChains][t][0], a, {b[0], b[1]});
        device::mma_bf16(sums[c % kChains][t][1], a, {b[2], b[3]});
      }
    }
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        values[t][i / 4][i % 4] = sums[0][t][i / 4][i % 4];
        if constexpr (kChains == 2) values[t][i / 4][i % 4] += sums[1][t][i / 4][i % 4];
      }
    }
  }

  // Of row 8 r of a tile: the largest, in all of the row's lanes.
  __device__ __forceinline__ float largest(int t, int r) const {
    float out = fmaxf(fmaxf(values[t][0][2 * r], values[t][0][2 * r + 1]),
                      fmaxf(values[t][1][2 * r], values[t][1][2 * r + 1]));
    out = fmaxf(out, __shfl_xor_sync(kAllLanes, out, 1));
    return fmaxf(out, __shfl_xor_sync(kAllLanes, out, 2));
  }

  // Makes them weights relative to `base`, leaves them at `to` as bf16 and returns their sum.
  __device__ __forceinline__ float weigh(int t, int r, float scale_log2, float base, uint8_t* to) {
    float x[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x[i] = exp2_fast(fmaf(values[t][i / 2][2 * r + i % 2], scale_log2, -base));
    }
    auto* const pairs = reinterpret_cast<uint32_t*>(to) + threadIdx.x % 4;
    pairs[0] = device::pack_bf16(x[0], x[1]);
    pairs[4] = device::pack_bf16(x[2], x[3]);
    float total = x[0] + x[1] + (x[2] + x[3]);
    total += __shfl_xor_sync(kAllLanes, total, 1);
    return total + __shfl_xor_sync(kAllLanes, total, 2);
  }
};

// Over a row's chunks, in all four of its lanes.
__device__ __forceinline__ float row_maximum(const WindowStats& stats, int num_chunks, int row) {
  float out = kNever;
#pragma unroll
  for (int i = 0; i < kWindowKeysMax / 16; i += 4) {
    const int chunk = i + static_cast<int>(threadIdx.x) % 4;
    if (chunk < num_chunks) out = fmaxf(out, stats.maximum[chunk][row]);
  }
  out = fmaxf(out, __shfl_xor_sync(kAllLanes, out, 1));
  return fmaxf(out, __shfl_xor_sync(kAllLanes, out, 2));
}
__device__ __forceinline__ float row_total(const WindowStats& stats, int num_chunks, int row) {
  float out = 0;
#pragma unroll
  for (int i = 0; i < kWindowKeysMax / 16; i += 4) {
    const int chunk = i + static_cast<int>(threadIdx.x) % 4;
    if (chunk < num_chunks) out += stats.total[chunk][row];
  }
  out += __shfl_xor_sync(kAllLanes, out, 1);
  return out + __shfl_xor_sync(kAllLanes, out, 2);
}

// sums = weights v for 16 columns, all row tiles.
template <typename Tile, int kRowTiles>
__device__ __forceinline__ void add_window(float (&sums)[kRowTiles][2][4], uint32_t weights_at,
                                           uint32_t values_at, int num_chunks) {
  constexpr int kStride = WindowShape<Tile>::kWeightStride;
  const uint32_t a_from = weights_at + lane_offset_rows_first<kStride>();
  const uint32_t b_from = values_at + lane_offset_rows_first<Tile::kValueStride>();
#pragma unroll
  for (int chunk = 0; chunk < WindowShape<Tile>::kChunks; ++chunk) {
    if (chunk >= num_chunks) break;
    uint32_t b[4];
    device::load_matrix_x4_transposed(b, b_from + 2 * 16 * chunk * Tile::kValueStride);
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) {
      uint32_t a[4];
      device::load_matrix_x4(a, a_from + 2 * 16 * t * kStride + 32 * chunk);
      device::mma_bf16(sums[t][0], a, {b[0], b[1]});
      device::mma_bf16(sums[t][1], a, {b[2], b[3]});
    }
  }
}

// Scores by 16 keys a warp, then results by 16 columns a warp.
template <typename Tile, int kRowTiles>
__device__ __forceinline__ void attend_window(const AttentionArgs& p, const AttentionUnit& unit,
                                              uint8_t* shared, WindowStats& stats) {
  const int warp = threadIdx.x / 32;
  const int lane_row = static_cast<int>(threadIdx.x) % 32 / 4;
  const int num_chunks = (unit.key_end - unit.key_begin + 15) / 16;
  const uint32_t keys_at = shared_address(shared);
  uint8_t* const rows = shared + WindowShape<Tile>::kBytes;

  WindowScores<Tile, kRowTiles> scores;
  if (warp < num_chunks) {
    scores.find(shared_address(rows), keys_at + 2 * 16 * warp * Tile::kKeyStride);
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) {
      mask(scores.values[t], sight_of(p, unit, 16 * t), unit.key_begin + 16 * warp);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float largest = scores.largest(t, r) * p.scale_log2;
        if (threadIdx.x % 4 == 0) stats.maximum[warp][16 * t + 8 * r + lane_row] = largest;
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int t = 0; t < kRowTiles; ++t) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (warp >= num_chunks) continue;
      const int row = 16 * t + 8 * r + lane_row;
      const float base = finite(row_maximum(stats, num_chunks, row));
      const float total =
          scores.weigh(t, r, p.scale_log2, base,
                       rows + 2 * (row * WindowShape<Tile>::kWeightStride + 16 * warp));
      const float sink = warp == 0 ? exp2_fast(stats.sink[row] - base) : 0;
      if (threadIdx.x % 4 == 0) stats.total[warp][row] = total + sink;
    }
  }
  __syncthreads();

  float factors[kRowTiles][2];
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles; ++i) {
    const float total = row_total(stats, num_chunks, 8 * i + lane_row);
    factors[i / 2][i % 2] = total > 0 ? 1 / total : 0.f;
  }
#pragma unroll 1
  for (int column = 16 * warp; column < p.v_dim; column += 16 * Tile::kWarps) {
    float sums[kRowTiles][2][4] = {};
    add_window<Tile, kRowTiles>(sums, shared_address(rows),
                                keys_at + WindowShape<Tile>::kKeyBytes + 2 * column, num_chunks);
#pragma unroll
    for (int i = 0; i < 2 * kRowTiles; ++i) {
      const int row = 8 * i + lane_row;
      if (row >= unit.num_rows) continue;
      const float factor = factors[i / 2][i % 2];
      auto* const to = reinterpret_cast<uint32_t*>(p.out + int64_t{stats.out_row[row]} * p.v_dim +
                                                   column + threadIdx.x % 4 * 2);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const float(&x)[4] = sums[i / 2][n];
        if (column + 8 * n < p.v_dim) {
          to[4 * n] = device::pack_bf16(x[i % 2 * 2] * factor, x[i % 2 * 2 + 1] * factor);
        }
      }
    }
  }
}

// --- Kernel: grid (tiles * kv_heads, runs) ------------------------------------------------------
template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 2)
    attention_window_kernel(const __grid_constant__ AttentionArgs p) {
  static_assert(Tile::kRows == kDecodeTileRows && kWindowKeysMax % 16 == 0, "rows are counted so");
  static_assert(Tile::kWarps == WindowShape<Tile>::kChunks, "a warp has its 16 keys");
  static_assert(kDecodeRowsMax <= Tile::kThreads / 8, "new keys take one pass");
  extern __shared__ __align__(128) uint8_t attention_shared[];
  __shared__ WindowStats stats;
  device::let_next_start();

  // Before the wait: lengths, tables and the keys of earlier steps. AttentionOps says why.
  const int run = static_cast<int>(blockIdx.y);
  const int head = static_cast<int>(blockIdx.x) % p.kv_heads;
  const int first = static_cast<int>(blockIdx.x) / p.kv_heads * kDecodeTileRows;
  const RunPlace place = place_of(p, run);
  const AttentionUnit unit = unit_at(p, place, run, head, first, kDecodeTileRows);
  if (place.rows > kDecodeRowsMax || unit.num_rows <= 0 || unit.key_end <= 0) {
    // This kernel must not end before the one that it follows.
    device::wait_for_inputs();
    if (place.rows <= kDecodeRowsMax && unit.num_rows > 0) write_zeros<Tile>(p, unit);
    return;
  }

  const int row_tiles = unit.num_rows <= 16 ? 1 : unit.num_rows <= 32 ? 2 : 4;
  const uint32_t keys_at = shared_address(attention_shared);
  const int num = unit.key_end - unit.key_begin;
  const int num_old = max(0, min(num, unit.position - unit.key_begin));
  const int new_row = num_old + static_cast<int>(threadIdx.x) / 8;
  const int new_key = unit.key_begin + new_row;
  const uint32_t new_page_row = new_row < num ? page_row_of(p, unit, new_key) : 0;
  copy_old_window<Tile>(p, unit, num_old, num, keys_at);
  if (static_cast<int>(threadIdx.x) < kDecodeTileRows) {
    const int row = static_cast<int>(threadIdx.x);
    const bool there = row < unit.num_rows;
    stats.sink[row] = there ? sink_of(p, unit, row) : kNever;
    stats.out_row[row] = there ? static_cast<int32_t>(row_of(p, unit, row)) : 0;
  }
  device::wait_for_inputs();
  copy_queries<Tile>(p, unit, 16 * row_tiles, keys_at + WindowShape<Tile>::kBytes);
  if (new_row < num) copy_window_row<Tile>(p, new_page_row, new_key, true, keys_at, new_row);
  copy_async_commit();
  copy_async_wait<0>();
  __syncthreads();
  switch (row_tiles) {
    case 1:
      return attend_window<Tile, 1>(p, unit, attention_shared, stats);
    case 2:
      return attend_window<Tile, 2>(p, unit, attention_shared, stats);
    default:
      return attend_window<Tile, 4>(p, unit, attention_shared, stats);
  }
}

}  // namespace mimo::kernels::cuda
