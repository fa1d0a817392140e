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
  // With so many times 16 packed rows behind, and WindowShared behind those.
  template <int kRowTiles>
  static constexpr int kSharedAt = kBytes + 16 * kRowTiles* kRowBytes;
  static constexpr int kChunks = kWindowKeysMax / 16;
};

// A unit, found ahead of its turn. Runs that are not the decode kernel's have no rows here, and
// rows that see nothing no keys.
template <int kRowTiles>
struct WindowPlace {
  static constexpr int kRows = 16 * kRowTiles;
  static constexpr int kPages = kWindowKeysMax / 16 + 1;
  AttentionUnit unit;
  int32_t num;        // keys
  int32_t num_old;    // of them, that lay in the cache before this step
  int32_t all_begin;  // all rows see the keys between
  int32_t all_end;
  uint32_t page_rows[kPages];  // of the pools, where the pages begin
  // Of packed rows:
  float sink[kRows];  // a power of two
  int32_t out_row[kRows];
  int32_t sight_end[kRows];  // behind the last key that it sees
};

template <int kRowTiles>
struct WindowShared {
  WindowPlace<kRowTiles> places[2];  // in turns
  // By 16 keys and packed row: the largest score, as a power of two.
  float maximum[kWindowKeysMax / 16][16 * kRowTiles];
};

template <typename Tile, int kRowTiles>
constexpr int64_t kWindowBytes = WindowShape<Tile>::template kSharedAt<kRowTiles> +
                                 sizeof(WindowShared<kRowTiles>);
// Two blocks share a multiprocessor.
template <typename Tile>
constexpr int64_t window_shared_bytes(int32_t row_tiles) {
  return row_tiles == 1   ? kWindowBytes<Tile, 1>
         : row_tiles == 2 ? kWindowBytes<Tile, 2>
                          : kWindowBytes<Tile, 4>;
}

// Part `rest` of a run: tiles, each with all kv heads. The block sees it after a barrier.
template <int kRowTiles>
__device__ __forceinline__ void find_window(const AttentionArgs& p, int run, int rest,
                                            WindowPlace<kRowTiles>& place) {
  static_assert(place.kPages <= place.kRows);
  const int row = static_cast<int>(threadIdx.x);
  if (row >= place.kRows) return;
  const RunPlace of = place_of(p, run);
  const int tile = p.tiles == 1 ? 0 : rest / p.kv_heads;
  const int head = rest - tile * p.kv_heads;
  AttentionUnit unit = unit_at(p, of, run, head, tile * kDecodeTileRows, kDecodeTileRows);
  if (of.rows > kDecodeRowsMax) unit.num_rows = 0;
  const int num = unit.num_rows > 0 ? max(0, unit.key_end - unit.key_begin) : 0;
  const int page = (unit.key_begin >> p.page_shift) + row;
  uint32_t id = 0;  // waited for last
  if (row < place.kPages && num > 0 && page <= (unit.key_end - 1) >> p.page_shift) {
    id = static_cast<uint32_t>(unit.table[page % p.stride]);
  }
  const bool there = row < unit.num_rows;
  place.sink[row] = there ? sink_of(p, unit, row) : kNever;
  place.out_row[row] = there ? static_cast<int32_t>(row_of(p, unit, row)) : 0;
  place.sight_end[row] = there ? unit.position + (unit.first + row) / p.group + 1 : 0;
  if (row == 0) {
    place.unit = unit;
    place.num = num;
    place.num_old = max(0, min(num, unit.position - unit.key_begin));
    place.all_begin = max(0, unit.key_end - p.window);
    place.all_end = unit.position + unit.first / p.group + 1;
  }
  if (row < place.kPages) place.page_rows[row] = (id * p.kv_heads + head) << p.page_shift;
}

// Rows [begin, end) of the unit's keys (or values: `pool`, its width and the tile's), and zeros for
// those from `zeros` on, up to a multiple of 16. Unrolled where the first unit's keys are waited
// for.
template <int kUnroll, int kThreads, int kCols, int kRowTiles>
__device__ __forceinline__ void copy_window(const AttentionArgs& p,
                                            const WindowPlace<kRowTiles>& place,
                                            const uint16_t* pool, int cols, int begin, int end,
                                            int zeros, uint32_t to) {
  constexpr int kPassRows = kThreads / 8;
  const int part = threadIdx.x % 8 * 8;
  const int key_begin = place.unit.key_begin;
  const int first_page = key_begin >> p.page_shift;
  const int padded = (place.num + 15) / 16 * 16;
#pragma unroll kUnroll
  for (int i = 0; i < (kWindowKeysMax + kPassRows - 1) / kPassRows; ++i) {
    const int row = begin + i * kPassRows + static_cast<int>(threadIdx.x) / 8;
    const bool there = row < end;
    if (!there && (row < zeros || row >= padded)) continue;
    const int key = key_begin + row;
    const uint32_t at = there ? place.page_rows[(key >> p.page_shift) - first_page] +
                                    (key & ((1 << p.page_shift) - 1))
                              : 0;
    const uint16_t* const from = pool + uint64_t{at} * static_cast<uint32_t>(cols);
#pragma unroll
    for (int c = 0; c < kCols; c += 64) {
      const bool inside = there && c + part < cols;
      copy_async_16(to + 2 * (row * (kCols + 8) + c + part), inside ? from + c + part : pool,
                    inside);
    }
  }
}
template <typename Tile, int kUnroll, int kRowTiles>
__device__ __forceinline__ void copy_window_keys(const AttentionArgs& p,
                                                 const WindowPlace<kRowTiles>& place, int begin,
                                                 int end, int zeros, uint32_t to) {
  copy_window<kUnroll, Tile::kThreads, Tile::kK>(p, place, p.k, p.k_dim, begin, end, zeros, to);
}
template <typename Tile, int kUnroll, int kRowTiles>
__device__ __forceinline__ void copy_window_values(const AttentionArgs& p,
                                                   const WindowPlace<kRowTiles>& place, int begin,
                                                   int end, int zeros, uint32_t to) {
  copy_window<kUnroll, Tile::kThreads, Tile::kV>(p, place, p.v, p.v_dim, begin, end, zeros,
                                                 to + WindowShape<Tile>::kKeyBytes);
}

// What is asked for after the wait, with its addresses found before: the rows' queries, and the
// keys and values that this step wrote. Eight threads take a row.
template <typename Tile, int kRowTiles>
struct WindowRest {
  static constexpr int kPassRows = Tile::kThreads / 8;
  static constexpr int kPasses = (16 * kRowTiles + kPassRows - 1) / kPassRows;
  static_assert(kDecodeRowsMax <= kPassRows, "new keys take one pass");
  const uint16_t* q[kPasses];  // null: zeros
  const uint16_t* k = nullptr;
  const uint16_t* v = nullptr;
  int new_row = 0;

  __device__ __forceinline__ void find_queries(const AttentionArgs& p,
                                               const WindowPlace<kRowTiles>& place) {
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      const int row = i * kPassRows + static_cast<int>(threadIdx.x) / 8;
      q[i] = row < place.unit.num_rows ? p.q + int64_t{place.out_row[row]} * p.k_dim : nullptr;
    }
  }
  __device__ __forceinline__ void find_new(const AttentionArgs& p,
                                           const WindowPlace<kRowTiles>& place) {
    new_row = place.num_old + static_cast<int>(threadIdx.x) / 8;
    if (new_row >= place.num) return;
    const int key = place.unit.key_begin + new_row;
    const int page = (key >> p.page_shift) - (place.unit.key_begin >> p.page_shift);
    const uint32_t at = place.page_rows[page] + (key & ((1 << p.page_shift) - 1));
    k = p.k + uint64_t{at} * static_cast<uint32_t>(p.k_dim);
    v = p.v + uint64_t{at} * static_cast<uint32_t>(p.v_dim);
  }
  template <int kCols>
  __device__ __forceinline__ static void copy_row(const uint16_t* from, const uint16_t* any,
                                                  int cols, uint32_t to) {
    const int part = threadIdx.x % 8 * 8;
#pragma unroll
    for (int c = 0; c < kCols; c += 64) {
      const bool inside = from != nullptr && c + part < cols;
      copy_async_16(to + 2 * (c + part), inside ? from + c + part : any, inside);
    }
  }
  __device__ __forceinline__ void copy_queries(const AttentionArgs& p, uint32_t to) const {
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      const int row = i * kPassRows + static_cast<int>(threadIdx.x) / 8;
      if (row < 16 * kRowTiles) {
        copy_row<Tile::kK>(q[i], p.q, p.k_dim, to + 2 * row * Tile::kKeyStride);
      }
    }
  }
  __device__ __forceinline__ void copy_new(const AttentionArgs& p, uint32_t keys_at) const {
    if (k == nullptr) return;
    copy_row<Tile::kK>(k, p.k, p.k_dim, keys_at + 2 * new_row * Tile::kKeyStride);
    copy_row<Tile::kV>(v, p.v, p.v_dim,
                       keys_at + WindowShape<Tile>::kKeyBytes + 2 * new_row * Tile::kValueStride);
  }
};

// Of sums under way at once. Several row tiles are chains enough; a tile that says so has one, as
// those.
template <typename Tile, int kRowTiles>
constexpr int kWindowChains = kRowTiles == 1 && !requires {
  Tile::kOneChain;
}
? 2 : 1;

// Of 16 keys in all row tiles, by one warp.
template <typename Tile, int kRowTiles>
struct WindowScores {
  float values[kRowTiles][2][4];

  __device__ __forceinline__ void find(uint32_t queries_at, uint32_t keys_at) {
    constexpr int kChains = kWindowChains<Tile, kRowTiles>;
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

  // Makes them weights relative to `base` and leaves them at `to` as bf16.
  __device__ __forceinline__ void weigh(int t, int r, float scale_log2, float base, uint8_t* to) {
    float x[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x[i] = exp2_fast(fmaf(values[t][i / 2][2 * r + i % 2], scale_log2, -base));
    }
    auto* const pairs = reinterpret_cast<uint32_t*>(to) + threadIdx.x % 4;
    pairs[0] = device::pack_bf16(x[0], x[1]);
    pairs[4] = device::pack_bf16(x[2], x[3]);
  }
};

// Over a row's chunks, in all four of its lanes.
template <int kRowTiles>
__device__ __forceinline__ float row_maximum(const WindowShared<kRowTiles>& stats, int num_chunks,
                                             int row) {
  float out = kNever;
#pragma unroll
  for (int i = 0; i < kWindowKeysMax / 16; i += 4) {
    const int chunk = i + static_cast<int>(threadIdx.x) % 4;
    if (chunk < num_chunks) out = fmaxf(out, stats.maximum[chunk][row]);
  }
  out = fmaxf(out, __shfl_xor_sync(kAllLanes, out, 1));
  return fmaxf(out, __shfl_xor_sync(kAllLanes, out, 2));
}

// sums += weights v for 16 keys and 16 columns, totals += weights: what the results are divided by
// is the sum of the weights as they were rounded. Addresses: a lane's.
template <typename Tile, int kRowTiles>
struct WindowSums {
  static constexpr int kChains = kWindowChains<Tile, kRowTiles>;
  float values[kChains][kRowTiles][2][4] = {};
  float totals[kRowTiles][4] = {};

  __device__ __forceinline__ void add(int chunk, uint32_t weights_at, uint32_t values_at) {
    constexpr uint32_t kOnes = 0x3f803f80u;  // bf16
    uint32_t b[4];
    device::load_matrix_x4_transposed(b, values_at + 2 * 16 * chunk * Tile::kValueStride);
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) {
      uint32_t a[4];
      device::load_matrix_x4(
          a, weights_at + 2 * 16 * t * WindowShape<Tile>::kWeightStride + 32 * chunk);
      device::mma_bf16(values[chunk % kChains][t][0], a, {b[0], b[1]});
      device::mma_bf16(values[chunk % kChains][t][1], a, {b[2], b[3]});
      device::mma_bf16(totals[t], a, {kOnes, kOnes});
    }
  }
  __device__ __forceinline__ void add_all(int num_chunks, uint32_t weights_at, uint32_t values_at) {
    constexpr int kUsual = WindowShape<Tile>::kChunks - 1;
    if (num_chunks >= kUsual) {
#pragma unroll
      for (int chunk = 0; chunk < kUsual; ++chunk) add(chunk, weights_at, values_at);
      if (num_chunks > kUsual) add(kUsual, weights_at, values_at);
    } else {
#pragma unroll 1
      for (int chunk = 0; chunk < num_chunks; ++chunk) {
        add(0, weights_at + 32 * chunk, values_at + 2 * 16 * chunk * Tile::kValueStride);
      }
    }
  }
  __device__ __forceinline__ float value(int t, int n, int i) const {
    if constexpr (kChains == 2) return values[0][t][n][i] + values[1][t][n][i];
    return values[0][t][n][i];
  }
};

// Scores by 16 keys a warp, then results by 16 columns a warp. The keys of the place after this, if
// there is one, are asked for once these are done with.
template <typename Tile, int kRowTiles>
__device__ __forceinline__ void attend_window(const AttentionArgs& p,
                                              const WindowPlace<kRowTiles>& place,
                                              const WindowPlace<kRowTiles>* next, uint8_t* memory,
                                              WindowShared<kRowTiles>& shared) {
  constexpr int kWeightStride = WindowShape<Tile>::kWeightStride;
  const int warp = threadIdx.x / 32;
  const int lane_row = static_cast<int>(threadIdx.x) % 32 / 4;
  const int num_chunks = (place.num + 15) / 16;
  const uint32_t keys_at = shared_address(memory);
  uint8_t* const rows = memory + WindowShape<Tile>::kBytes;

  WindowScores<Tile, kRowTiles> scores;
  if (warp < num_chunks) {
    scores.find(shared_address(rows), keys_at + 2 * 16 * warp * Tile::kKeyStride);
    const int key = place.unit.key_begin + 16 * warp;
    const bool edge = key < place.all_begin || key + 16 > place.all_end;
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) {
      if (edge) {
        const int low = place.sight_end[16 * t + lane_row];
        const int high = place.sight_end[16 * t + 8 + lane_row];
        mask(scores.values[t], Sight{{low - p.window, high - p.window}, {low, high}}, key);
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float largest = scores.largest(t, r) * p.scale_log2;
        if (threadIdx.x % 4 == 0) shared.maximum[warp][16 * t + 8 * r + lane_row] = largest;
      }
    }
  }
  __syncthreads();
  if (next != nullptr) {
    copy_window_keys<Tile, 1>(p, *next, 0, next->num, next->num, keys_at);
    copy_async_commit();
  }
  float sink_weights[2 * kRowTiles];
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles; ++i) {
    const int row = 8 * i + lane_row;
    const float base = finite(row_maximum(shared, num_chunks, row));
    sink_weights[i] = exp2_fast(place.sink[row] - base);
    if (warp < num_chunks) {
      scores.weigh(i / 2, i % 2, p.scale_log2, base, rows + 2 * (row * kWeightStride + 16 * warp));
    }
  }
  __syncthreads();

#pragma unroll 1
  for (int column = 16 * warp; column < p.v_dim; column += 16 * Tile::kWarps) {
    WindowSums<Tile, kRowTiles> sums;
    sums.add_all(num_chunks, shared_address(rows) + lane_offset_rows_first<kWeightStride>(),
                 keys_at + WindowShape<Tile>::kKeyBytes + 2 * column +
                     lane_offset_rows_first<Tile::kValueStride>());
#pragma unroll
    for (int i = 0; i < 2 * kRowTiles; ++i) {
      const int row = 8 * i + lane_row;
      if (row >= place.unit.num_rows) continue;
      const float total = sums.totals[i / 2][i % 2 * 2] + sink_weights[i];
      const float factor = total > 0 ? __fdividef(1.0f, total) : 0.f;
      auto* const to = reinterpret_cast<uint32_t*>(p.out + int64_t{place.out_row[row]} * p.v_dim +
                                                   column + threadIdx.x % 4 * 2);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        if (column + 8 * n < p.v_dim) {
          to[4 * n] = device::pack_bf16(sums.value(i / 2, n, i % 2 * 2) * factor,
                                        sums.value(i / 2, n, i % 2 * 2 + 1) * factor);
        }
      }
    }
  }
}

// --- Kernel: grid (tiles * kv_heads, runs) ------------------------------------------------------
// Where kTurns, grid (blocks), which take the units in turns; these have one or two row tiles.
template <typename Tile, int kRowTiles, bool kTurns>
__global__ void __launch_bounds__(Tile::kThreads, 2)
    attention_window_kernel(const __grid_constant__ AttentionArgs p) {
  static_assert(Tile::kWarps == WindowShape<Tile>::kChunks, "a warp has its 16 keys");
  static_assert(kDecodeTileRows <= Tile::kThreads, "a thread finds a row");
  static_assert(!kTurns || kRowTiles <= 2, "registers are few");
  extern __shared__ __align__(128) uint8_t attention_shared[];
  auto& shared = *reinterpret_cast<WindowShared<kRowTiles>*>(
      attention_shared + WindowShape<Tile>::template kSharedAt<kRowTiles>);
  device::let_next_start();

  const uint32_t keys_at = shared_address(attention_shared);
  const uint32_t queries_at = keys_at + WindowShape<Tile>::kBytes;
  const int per_run = p.tiles * p.kv_heads;
  int index = static_cast<int>(blockIdx.x);
  const WindowPlace<kRowTiles>* place = &shared.places[0];
  if constexpr (kTurns) {
    find_window(p, index / per_run, index % per_run, shared.places[0]);
  } else {
    find_window(p, static_cast<int>(blockIdx.y), index, shared.places[0]);
  }
  __syncthreads();
  // Before the wait: lengths, tables and the keys of earlier steps. AttentionOps says why.
  copy_window_keys<Tile, 4>(p, *place, 0, place->num_old, place->num, keys_at);
  copy_window_values<Tile, 4>(p, *place, 0, place->num_old, place->num, keys_at);
  WindowRest<Tile, kRowTiles> rest;
  rest.find_queries(p, *place);
  rest.find_new(p, *place);
  device::wait_for_inputs();
  rest.copy_queries(p, queries_at);
  rest.copy_new(p, keys_at);
  copy_async_commit();
  if constexpr (!kTurns) {
    copy_async_wait<0>();
    __syncthreads();
    attend_window<Tile, kRowTiles>(p, *place, nullptr, attention_shared, shared);
  } else {
    for (int turn = 1;; ++turn) {
      index += static_cast<int>(gridDim.x);
      const bool more = index < p.num_runs * per_run;
      WindowPlace<kRowTiles>& next = shared.places[turn % 2];
      if (more) find_window(p, index / per_run, index % per_run, next);
      copy_async_wait<0>();
      __syncthreads();
      attend_window<Tile, kRowTiles>(p, *place, more ? &next : nullptr, attention_shared, shared);
      if (!more) return;
      __syncthreads();
      copy_window_values<Tile, 1>(p, next, 0, next.num, next.num, keys_at);
      rest.find_queries(p, next);
      rest.copy_queries(p, queries_at);
      copy_async_commit();
      place = &next;
    }
  }
}

}  // namespace mimo::kernels::cuda
