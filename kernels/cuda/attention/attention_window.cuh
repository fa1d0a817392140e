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

// By chunk of 16 keys and packed row: the largest score, as a power of two, and the weights' sum.
struct WindowStats {
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

// A warp's chunks of its row tile: `first`, and each kStep further.
template <typename Tile, int kRowTiles>
struct WindowScores {
  static constexpr int kStep = Tile::kWarps / kRowTiles;
  static constexpr int kNum = (WindowShape<Tile>::kChunks + kStep - 1) / kStep;
  static constexpr int kChains = kNum < 3 ? 2 : 1;  // as registers allow
  float values[kNum][2][4];

  __device__ __forceinline__ void find(const AttentionArgs& p, const Queries<Tile>& queries,
                                       const Sight& sight, int key_begin, int first, int num_chunks,
                                       uint32_t keys_at, int row, WindowStats& stats) {
#pragma unroll
    for (int j = 0; j < kNum; ++j) {
      const int chunk = first + j * kStep;
      if (chunk >= num_chunks) break;
      score<Tile, 2, kChains>(values[j], queries, keys_at + 2 * 16 * chunk * Tile::kKeyStride);
      mask(values[j], sight, key_begin + 16 * chunk);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float largest = fmaxf(fmaxf(values[j][0][2 * r], values[j][0][2 * r + 1]),
                              fmaxf(values[j][1][2 * r], values[j][1][2 * r + 1]));
        largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
        if (threadIdx.x % 4 == 0) stats.maximum[chunk][row + 8 * r] = largest * p.scale_log2;
      }
    }
  }

  // Makes them weights relative to the rows' `base` and leaves them at `weights` (bf16, rows of
  // kWeightStride); their sums in `stats`, the sink's in the first chunk's.
  __device__ __forceinline__ void weigh(const AttentionArgs& p, const float (&base)[2],
                                        const float (&sink)[2], int first, int num_chunks,
                                        uint8_t* weights, int row, WindowStats& stats) {
#pragma unroll
    for (int j = 0; j < kNum; ++j) {
      const int chunk = first + j * kStep;
      if (chunk >= num_chunks) break;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float x[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          x[i] = exp2_fast(fmaf(values[j][i / 2][2 * r + i % 2], p.scale_log2, -base[r]));
        }
        float total = x[0] + x[1] + (x[2] + x[3]);
        total += __shfl_xor_sync(kAllLanes, total, 1);
        total += __shfl_xor_sync(kAllLanes, total, 2);
        if (threadIdx.x % 4 == 0) {
          stats.total[chunk][row + 8 * r] = total + (chunk == 0 ? exp2_fast(sink[r] - base[r]) : 0);
        }
        auto* const to = reinterpret_cast<uint32_t*>(
            weights + 2 * ((row + 8 * r) * WindowShape<Tile>::kWeightStride + 16 * chunk +
                           threadIdx.x % 4 * 2));
        to[0] = device::pack_bf16(x[0], x[1]);
        to[4] = device::pack_bf16(x[2], x[3]);
      }
    }
  }
};

// Over a row's chunks, in all four of its lanes.
__device__ __forceinline__ float row_maximum(const WindowStats& stats, int num_chunks, int row) {
  float out = kNever;
  for (int chunk = threadIdx.x % 4; chunk < num_chunks; chunk += 4) {
    out = fmaxf(out, stats.maximum[chunk][row]);
  }
  out = fmaxf(out, __shfl_xor_sync(kAllLanes, out, 1));
  return fmaxf(out, __shfl_xor_sync(kAllLanes, out, 2));
}
__device__ __forceinline__ float row_total(const WindowStats& stats, int num_chunks, int row) {
  float out = 0;
  for (int chunk = threadIdx.x % 4; chunk < num_chunks; chunk += 4) {
    out += stats.total[chunk][row];
  }
  out += __shfl_xor_sync(kAllLanes, out, 1);
  return out + __shfl_xor_sync(kAllLanes, out, 2);
}

// sums = weights v for 16 columns. weights: the row tile's; values: the first key's.
template <typename Tile>
__device__ __forceinline__ void add_window(float (&sums)[2][4], uint32_t weights, uint32_t values,
                                           int column, int num_chunks) {
  float parts[2][2][4] = {};
  const uint32_t a_from = weights + lane_offset_rows_first<WindowShape<Tile>::kWeightStride>();
  const uint32_t b_from = values + 2 * column + lane_offset_rows_first<Tile::kValueStride>();
#pragma unroll
  for (int chunk = 0; chunk < WindowShape<Tile>::kChunks; ++chunk) {
    if (chunk >= num_chunks) break;
    uint32_t a[4];
    uint32_t b[4];
    device::load_matrix_x4(a, a_from + 32 * chunk);
    device::load_matrix_x4_transposed(b, b_from + 2 * 16 * chunk * Tile::kValueStride);
    device::mma_bf16(parts[chunk % 2][0], a, {b[0], b[1]});
    device::mma_bf16(parts[chunk % 2][1], a, {b[2], b[3]});
  }
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[n][i] = parts[0][n][i] + parts[1][n][i];
  }
}

// Scores by chunks of keys, then results by columns: a warp keeps its row tile.
template <typename Tile, int kRowTiles>
__device__ __forceinline__ void attend_window(const AttentionArgs& p, const AttentionUnit& unit,
                                              const float (&sink)[2], const int (&out_row)[2],
                                              uint8_t* shared, WindowStats& stats) {
  const int warp = threadIdx.x / 32;
  const int row_tile = warp % kRowTiles;
  const int first = warp / kRowTiles;
  const int row = 16 * row_tile + static_cast<int>(threadIdx.x) % 32 / 4;
  const int num_chunks = (unit.key_end - unit.key_begin + 15) / 16;
  const uint32_t keys_at = shared_address(shared);
  uint8_t* const rows = shared + WindowShape<Tile>::kBytes;

  Queries<Tile> queries;
  queries.load(shared_address(rows) + 2 * 16 * row_tile * Tile::kKeyStride);
  WindowScores<Tile, kRowTiles> scores;
  scores.find(p, queries, sight_of(p, unit, 16 * row_tile), unit.key_begin, first, num_chunks,
              keys_at, row, stats);
  __syncthreads();
  float base[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    base[r] = finite(fmaxf(sink[r], row_maximum(stats, num_chunks, row + 8 * r)));
  }
  scores.weigh(p, base, sink, first, num_chunks, rows, row, stats);
  __syncthreads();

  float factor[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float total = row_total(stats, num_chunks, row + 8 * r);
    factor[r] = total > 0 ? 1 / total : 0.f;
  }
  const uint32_t weights_at =
      shared_address(rows) + 2 * 16 * row_tile * WindowShape<Tile>::kWeightStride;
  for (int column = 16 * first; column < p.v_dim; column += 16 * scores.kStep) {
    float sums[2][4];
    add_window<Tile>(sums, weights_at, keys_at + WindowShape<Tile>::kKeyBytes, column, num_chunks);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int r = i % 2;
      const int at = column + i / 2 * 8;
      if (row + 8 * r >= unit.num_rows || at >= p.v_dim) continue;
      auto* const to = reinterpret_cast<uint32_t*>(p.out + int64_t{out_row[r]} * p.v_dim + at +
                                                   threadIdx.x % 4 * 2);
      *to = device::pack_bf16(sums[i / 2][2 * r] * factor[r], sums[i / 2][2 * r + 1] * factor[r]);
    }
  }
}

// --- Kernel: grid (tiles * kv_heads, runs) ------------------------------------------------------
template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 2)
    attention_window_kernel(const __grid_constant__ AttentionArgs p) {
  static_assert(Tile::kRows == kDecodeTileRows && kWindowKeysMax % 16 == 0, "rows are counted so");
  static_assert(Tile::kWarps % (kDecodeTileRows / 16) == 0, "a warp keeps its row tile");
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
  float sink[2];
  int out_row[2];  // fewer than 2^31 by far
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = static_cast<int>(threadIdx.x / 32) % row_tiles * 16 +
                    static_cast<int>(threadIdx.x) % 32 / 4 + 8 * r;
    const bool there = row < unit.num_rows;
    sink[r] = there ? sink_of(p, unit, row) : kNever;
    out_row[r] = there ? static_cast<int>(row_of(p, unit, row)) : 0;
  }
  device::wait_for_inputs();
  copy_queries<Tile>(p, unit, 16 * row_tiles, keys_at + WindowShape<Tile>::kBytes);
  if (new_row < num) copy_window_row<Tile>(p, new_page_row, new_key, true, keys_at, new_row);
  copy_async_commit();
  copy_async_wait<0>();
  __syncthreads();
  switch (row_tiles) {
    case 1:
      return attend_window<Tile, 1>(p, unit, sink, out_row, attention_shared, stats);
    case 2:
      return attend_window<Tile, 2>(p, unit, sink, out_row, attention_shared, stats);
    default:
      return attend_window<Tile, 4>(p, unit, sink, out_row, attention_shared, stats);
  }
}

}  // namespace mimo::kernels::cuda
