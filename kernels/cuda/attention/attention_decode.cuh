#pragma once

#include "kernels/cuda/attention/attention_tile.cuh"
#include "kernels/device/pdl.cuh"

// Runs of few rows: a block takes up to 64 packed rows and a part of the keys. A warp keeps 16
// rows; where there are fewer than 64, several warps keep the same rows and share out the keys of
// each pass. Parts of a sequence meet in the workspace: the block that arrives last merges them, in
// the order of the parts, so that the result does not depend on which came last.
namespace mimo::kernels::cuda {

// A block's share of its unit's keys.
struct Split {
  int32_t index;
  int32_t num;  // splits that the unit has
  int32_t block_begin;
  int32_t num_blocks;  // of kKeyBlock keys; 0: nothing to do
};

__device__ __forceinline__ Split split_of(const AttentionArgs& p, const AttentionUnit& unit) {
  const int begin = unit.key_begin / kKeyBlock;
  const int num_blocks = (unit.key_end + kKeyBlock - 1) / kKeyBlock - begin;
  const int least = p.splits_max == 1 ? num_blocks : p.split_min;
  const int share = max(1, max(least, (num_blocks + p.splits_max - 1) / p.splits_max));
  Split out;
  out.index = static_cast<int>(blockIdx.x);
  out.num = (num_blocks + share - 1) / share;
  out.block_begin = begin + out.index * share;
  out.num_blocks = max(0, min(share, begin + num_blocks - out.block_begin));
  return out;
}

// --- Keys ---------------------------------------------------------------------------------------
// This warp's 16 rows over the block's keys. row_tiles (1, 2 or 4) of 16 rows; the warps of a row
// tile take every pass's keys in equal parts.
template <typename Tile>
__device__ void attend(const AttentionArgs& p, const AttentionUnit& unit, const Split& split,
                       int row_tiles, uint32_t queries_at, RowSums<Tile>& sums) {
  const int warp = threadIdx.x / 32;
  const int row_tile = warp % row_tiles;
  const int part = warp / row_tiles;  // of Tile::kWarps / row_tiles, 16 row_tiles keys each
  const uint32_t ring = queries_at + Tile::kQueryBytes;

  // Before the wait: lengths, tables and the keys of earlier steps. AttentionOps says why.
  uint32_t page_rows[Tile::kStages - 1];
#pragma unroll
  for (int i = 0; i < Tile::kStages - 1; ++i)
    page_rows[i] = page_rows_of(p, unit, split.block_begin + i);
  const int num_old = min(split.num_blocks, unit.position / kKeyBlock - split.block_begin);
#pragma unroll
  for (int i = 0; i < Tile::kStages - 1; ++i) {
    if (i < num_old) {
      copy_keys<Tile>(p, unit, split.block_begin + i, page_rows[i], ring + i * Tile::kStageBytes);
    }
  }
  device::wait_for_inputs();
  copy_queries<Tile>(p, unit, 16 * row_tiles, queries_at);
#pragma unroll
  for (int i = 0; i < Tile::kStages - 1; ++i) {
    if (i >= num_old && i < split.num_blocks) {
      copy_keys<Tile>(p, unit, split.block_begin + i, page_rows[i], ring + i * Tile::kStageBytes);
    }
    copy_async_commit();
  }
  uint32_t next_rows = page_rows_of(p, unit, split.block_begin + Tile::kStages - 1);

  Queries<Tile> queries;
  const Sight sight = sight_of(p, unit, 16 * row_tile);
  int stage = 0;
  for (int i = 0; i < split.num_blocks; ++i) {
    copy_async_wait<Tile::kStages - 2>();
    __syncthreads();
    if (i == 0) queries.load(queries_at + 2 * 16 * row_tile * Tile::kKeyStride);
    const int next = i + Tile::kStages - 1;
    if (next < split.num_blocks) {
      const int next_stage = stage == 0 ? Tile::kStages - 1 : stage - 1;
      copy_keys<Tile>(p, unit, split.block_begin + next, next_rows,
                      ring + next_stage * Tile::kStageBytes);
      next_rows = page_rows_of(p, unit, split.block_begin + next + 1);
    }
    copy_async_commit();

    const int first_key = (split.block_begin + i) * kKeyBlock;
    const uint32_t keys = ring + stage * Tile::kStageBytes;
    for (int t = 0; t < row_tiles; ++t) {
      const int at = 16 * (part * row_tiles + t);
      const int key = first_key + at;
      if (key >= unit.key_end || key + 16 <= unit.key_begin) continue;
      float scores[2][4];
      score<Tile, 2, 2>(scores, queries, keys + 2 * at * Tile::kKeyStride);
      mask(scores, sight, key);
      sums.weigh(scores, p.scale_log2);
      sums.add(scores, keys + Tile::kKeyBytes + 2 * at * Tile::kValueStride);
    }
    stage = stage + 1 == Tile::kStages ? 0 : stage + 1;
  }
  sums.add_lanes();
}

// --- The block's warps together -----------------------------------------------------------------
// Over the ring, once the keys are done with.
template <typename Tile>
struct WarpSums {
  float values[Tile::kWarps][16][Tile::kV + 4];
  float maximum[Tile::kWarps][16];
  float total[Tile::kWarps][16];
};
// After a unit's last block has arrived: each split's weight in each row.
struct MergeWeights {
  float of[kDecodeTileRows][kSplitsMax + 1];
};

template <typename Tile>
__device__ __forceinline__ void share_sums(const RowSums<Tile>& sums, WarpSums<Tile>& shared,
                                           int warp) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = lane / 4 + 8 * r;
#pragma unroll
    for (int n = 0; n < Tile::kV / 8; ++n) {
      *reinterpret_cast<float2*>(&shared.values[warp][row][8 * n + lane % 4 * 2]) =
          make_float2(sums.values[n][2 * r], sums.values[n][2 * r + 1]);
    }
    if (lane % 4 == 0) {
      shared.maximum[warp][row] = sums.maximum[r];
      shared.total[warp][row] = sums.total[r];
    }
  }
}

__device__ __forceinline__ void store_bf16(uint16_t* to, const float (&x)[4], float factor) {
  *reinterpret_cast<uint2*>(to) = make_uint2(device::pack_bf16(x[0] * factor, x[1] * factor),
                                             device::pack_bf16(x[2] * factor, x[3] * factor));
}

// Adds up each row over its warps; writes it out when the unit is not split, else to the workspace.
template <typename Tile>
__device__ void put_rows(const AttentionArgs& p, const AttentionUnit& unit, bool whole,
                         int64_t partial, int row_tiles, const WarpSums<Tile>& shared) {
  const int columns = p.v_dim / 4;
  for (int i = threadIdx.x; i < unit.num_rows * columns; i += Tile::kThreads) {
    const int row = i / columns;
    const int column = (i - row * columns) * 4;
    float maximum = whole ? sink_of(p, unit, row) : kNever;
    for (int w = row / 16; w < Tile::kWarps; w += row_tiles) {
      maximum = fmaxf(maximum, shared.maximum[w][row % 16]);
    }
    const float base = finite(maximum);
    float total = 0;
    float x[4] = {};
    for (int w = row / 16; w < Tile::kWarps; w += row_tiles) {
      const float weight = exp2_fast(shared.maximum[w][row % 16] - base);
      total += weight * shared.total[w][row % 16];
#pragma unroll
      for (int j = 0; j < 4; ++j) x[j] += weight * shared.values[w][row % 16][column + j];
    }
    if (whole) {
      total += exp2_fast(sink_of(p, unit, row) - base);
      store_bf16(p.out + row_of(p, unit, row) * p.v_dim + column, x, total > 0 ? 1 / total : 0.f);
      continue;
    }
    const int64_t at = partial * kDecodeTileRows + row;
    __stcg(reinterpret_cast<float4*>(p.partial_sums + at * p.v_dim + column),
           make_float4(x[0], x[1], x[2], x[3]));
    if (column == 0) {
      __stcg(reinterpret_cast<float2*>(p.partial_stats + at * 2), make_float2(maximum, total));
    }
  }
}

// --- A split unit's blocks together -------------------------------------------------------------
// True in every thread of the block that comes last; it then sees what the others wrote.
__device__ __forceinline__ bool arrive_last(int32_t* arrivals, int num) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(arrivals, 1) == num - 1;
    if (last) *arrivals = 0;
  }
  __syncthreads();
  if (last) __threadfence();
  return last;
}

// A row's splits, each lane's two: how they weigh.
struct RowStats {
  static constexpr int kEach = kSplitsMax / 32;
  float2 of[kEach];  // maximum, total

  __device__ __forceinline__ void load(const AttentionArgs& p, int64_t first_partial, int row,
                                       int num_splits) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int split = static_cast<int>(threadIdx.x) % 32 + 32 * j;
      const int64_t at = (first_partial + split) * kDecodeTileRows + row;
      of[j] = make_float2(kNever, 0);
      if (split < num_splits) {
        of[j] = __ldcg(reinterpret_cast<const float2*>(p.partial_stats + at * 2));
      }
    }
  }
  __device__ __forceinline__ void weigh(float sink, float* weights) {
    float maximum = sink;
#pragma unroll
    for (int j = 0; j < kEach; ++j) maximum = fmaxf(maximum, of[j].x);
    for (int o = 16; o > 0; o /= 2) {
      maximum = fmaxf(maximum, __shfl_xor_sync(kAllLanes, maximum, o));
    }
    const float base = finite(maximum);
    float total = 0;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      of[j].x = exp2_fast(of[j].x - base);
      total += of[j].x * of[j].y;
    }
    for (int o = 16; o > 0; o /= 2) total += __shfl_xor_sync(kAllLanes, total, o);
    total += exp2_fast(sink - base);
    const float factor = total > 0 ? 1 / total : 0.f;
#pragma unroll
    for (int j = 0; j < kEach; ++j) weights[threadIdx.x % 32 + 32 * j] = of[j].x * factor;
  }
};

// Loads of several rows, and of several splits of several items, are under way at once: nothing
// else is left to do.
template <typename Tile>
__device__ void merge_splits(const AttentionArgs& p, const AttentionUnit& unit, int num_splits,
                             int64_t first_partial, MergeWeights& weights) {
  constexpr int kRowsAhead = 4;
  const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll 1
  for (int first = warp; first < unit.num_rows; first += kRowsAhead * Tile::kWarps) {
    RowStats stats[kRowsAhead];
#pragma unroll
    for (int i = 0; i < kRowsAhead; ++i) {
      const int row = first + i * Tile::kWarps;
      stats[i].load(p, first_partial, row, row < unit.num_rows ? num_splits : 0);
    }
#pragma unroll
    for (int i = 0; i < kRowsAhead; ++i) {
      const int row = first + i * Tile::kWarps;
      if (row < unit.num_rows) stats[i].weigh(sink_of(p, unit, row), weights.of[row]);
    }
  }
  __syncthreads();

  constexpr int kItems = 4;
  const int columns = p.v_dim / 4;
  const int num = unit.num_rows * columns;
  const int64_t split_floats = int64_t{kDecodeTileRows} * p.v_dim;
#pragma unroll 1
  for (int first = threadIdx.x; first < num; first += kItems * Tile::kThreads) {
    float x[kItems][4] = {};
    int rows[kItems];
    const float* from[kItems];
#pragma unroll
    for (int j = 0; j < kItems; ++j) {
      const int item = min(first + j * Tile::kThreads, num - 1);
      rows[j] = item / columns;
      from[j] = p.partial_sums + (first_partial * kDecodeTileRows + rows[j]) * p.v_dim +
                (item - rows[j] * columns) * 4;
    }
#pragma unroll 8
    for (int split = 0; split < num_splits; ++split) {
#pragma unroll
      for (int j = 0; j < kItems; ++j) {
        const float4 y = __ldcg(reinterpret_cast<const float4*>(from[j] + split * split_floats));
        const float weight = weights.of[rows[j]][split];
        x[j][0] += weight * y.x;
        x[j][1] += weight * y.y;
        x[j][2] += weight * y.z;
        x[j][3] += weight * y.w;
      }
    }
#pragma unroll
    for (int j = 0; j < kItems; ++j) {
      const int item = first + j * Tile::kThreads;
      if (item >= num) break;
      store_bf16(p.out + row_of(p, unit, rows[j]) * p.v_dim + (item - rows[j] * columns) * 4, x[j],
                 1.0f);
    }
  }
}

// --- Kernel: grid (splits_max, tiles * kv_heads, runs) ------------------------------------------
template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads)
    attention_decode_kernel(const __grid_constant__ AttentionArgs p) {
  static_assert(Tile::kWarps == 4 && Tile::kRows == kDecodeTileRows, "warps are counted so");
  static_assert(sizeof(WarpSums<Tile>) <= Tile::kStages * Tile::kStageBytes, "they share memory");
  static_assert(sizeof(MergeWeights) <= Tile::kStages * Tile::kStageBytes, "they share memory");
  extern __shared__ __align__(128) uint8_t attention_shared[];
  device::let_next_start();

  const int run = static_cast<int>(blockIdx.z);
  const int head = static_cast<int>(blockIdx.y) % p.kv_heads;
  const int first = static_cast<int>(blockIdx.y) / p.kv_heads * kDecodeTileRows;
  const RunPlace place = place_of(p, run);
  const AttentionUnit unit = unit_at(p, place, run, head, first, kDecodeTileRows);
  const bool here = place.rows <= kDecodeRowsMax && unit.num_rows > 0;
  const Split split = split_of(p, unit);
  if (!here || unit.key_end <= 0 || split.num_blocks == 0) {
    device::wait_for_inputs();
    if (here && unit.key_end <= 0 && blockIdx.x == 0) write_zeros<Tile>(p, unit);
    return;
  }

  const int row_tiles = unit.num_rows <= 16 ? 1 : unit.num_rows <= 32 ? 2 : 4;
  RowSums<Tile> sums;
  attend<Tile>(p, unit, split, row_tiles, shared_address(attention_shared), sums);

  __syncthreads();
  auto& shared = *reinterpret_cast<WarpSums<Tile>*>(attention_shared + Tile::kQueryBytes);
  share_sums(sums, shared, static_cast<int>(threadIdx.x) / 32);
  __syncthreads();
  const int unit_idx = run * static_cast<int>(gridDim.y) + static_cast<int>(blockIdx.y);
  const int64_t first_partial = int64_t{unit_idx} * p.splits_max;
  put_rows(p, unit, split.num == 1, first_partial + split.index, row_tiles, shared);
  if (split.num == 1 || !arrive_last(p.arrivals + unit_idx, split.num)) return;
  auto& weights = *reinterpret_cast<MergeWeights*>(attention_shared + Tile::kQueryBytes);
  merge_splits<Tile>(p, unit, split.num, first_partial, weights);
}

}  // namespace mimo::kernels::cuda
