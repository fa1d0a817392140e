#pragma once

#include "kernels/cuda/attention/attention_parts.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/tma.cuh"

// Runs of few rows where there is a copy engine (SM90 on): one block on each multiprocessor. All
// units' key blocks, one unit behind the other, are cut into equal shares, one for each block, by
// the lengths that lie on the device. Warp 8 streams a share's keys and values through a ring;
// warps 0 to 7 are two groups, which take the ring's stages in turn. A group's warps keep 16 rows
// each, as in attention_decode.cuh. Blocks that share a unit meet in the workspace at their end:
// each waits for the others' parts and merges some of the rows' columns, in the order of the parts.
namespace mimo::kernels::cuda {

// --- Warp 8: hands out work, brings keys and values ---------------------------------------------
template <typename Tile>
struct Bringer {
  const AttentionArgs& p;
  const CUtensorMap& k_map;
  const CUtensorMap& v_map;
  StreamShared<Tile>& shared;
  uint32_t stages;  // addresses in shared memory
  int stage = 0;
  uint32_t parity = 0;
  uint32_t work_parity = 0;
  bool waited = false;  // for the kernel before
  int32_t page = 0;     // lane's, of 32 from first_page on
  int first_page = 0;
  int early = 0;  // blocks of the work that were asked for before it was handed over

  // `work` for the groups, once they have taken the one before, and its queries, unless it is the
  // first: those would come behind its keys, and the groups fetch them themselves.
  __device__ void hand_over(const StreamWork& work) {
    const int lane = threadIdx.x % 32;
    device::wait_parity(shared_address(&shared.work_empty), work_parity ^ 1);
    const uint32_t barrier = shared_address(&shared.work_full);
    const int row_bytes = 2 * p.k_dim;
    const int rows = work.num_blocks > 0 && work.number > 0 ? work.unit.num_rows : 0;
    if (lane == 0) {
      shared.work[work_parity] = work;
      device::arrive_expecting(barrier, rows * row_bytes);
    }
    __syncwarp();
    for (int row = lane; row < rows; row += 32) {
      device::load_bytes(shared_address(shared.queries) + 2 * row * Tile::kKeyStride,
                         p.q + row_of(p, work.unit, row) * p.k_dim, row_bytes, barrier);
    }
    work_parity ^= 1;
  }

  __device__ __forceinline__ void find_pages(const AttentionUnit& unit, int first) {
    const int at = first + static_cast<int>(threadIdx.x) % 32;
    first_page = first;
    page = at <= (unit.key_end - 1) >> p.page_shift ? unit.table[at % p.stride] : 0;
  }

  // Blocks [from, to) of the work's: whole boxes of keys that some row sees; what else they hold
  // must not matter.
  __device__ void bring_keys(const StreamWork& work, int from, int to) {
    const int lane = threadIdx.x % 32;
    const AttentionUnit& unit = work.unit;
    const int box = p.box_rows;
    for (int b = from; b < to; ++b) {
      const int first_key = (work.block_begin + b) * kKeyBlock;
      const int begin = max(first_key, unit.key_begin / box * box);
      const int end = min(first_key + kKeyBlock, (unit.key_end + box - 1) / box * box);
      const uint32_t full = shared_address(&shared.full[stage]);
      const uint32_t keys_at = stages + stage * Tile::kStageBytes;
      device::wait_parity(shared_address(&shared.empty[stage]), parity ^ 1);
      if (lane == 0) {
        device::arrive_expecting(full, (end - begin) * 2 * (Tile::kK + Tile::kV));
      }
      for (int key = begin; key < end; key += box) {
        const int at = key >> p.page_shift;
        if (at >= first_page + 32) find_pages(unit, at);
        const int head_page =
            __shfl_sync(kAllLanes, page, at - first_page) * p.kv_heads + unit.head;
        const int row = (head_page << p.page_shift) + (key & ((1 << p.page_shift) - 1));
        if (lane == 0) bring_box(keys_at + 128 * (key - first_key), row, full);
      }
      if (++stage == Tile::kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
  }

  // A part of a unit. Of the first, what earlier steps wrote and the ring has room for is asked for
  // before the wait: AttentionOps says why.
  __device__ void begin(const StreamWork& work) {
    early = 0;
    find_pages(work.unit, max(work.block_begin * kKeyBlock, work.unit.key_begin) >> p.page_shift);
    if (waited) return;
    const int old = work.unit.position / kKeyBlock - work.block_begin;
    early = max(0, min(min(work.num_blocks, Tile::kStages), old));
    bring_keys(work, 0, early);
  }
  __device__ void end(const StreamWork& work) {
    hand_over(work);
    if (!waited) device::wait_for_inputs();
    waited = true;
    bring_keys(work, early, work.num_blocks);
  }

  __device__ __forceinline__ void bring_box(uint32_t to, int row, uint32_t full) {
    const uint32_t values_at = to + Tile::kKeyBytes;
    if (p.whole_rows) {
      device::load_box_3d(to, k_map, 0, row, 0, full);
      device::load_box_3d(values_at, v_map, 0, row, 0, full);
      return;
    }
#pragma unroll
    for (int c = 0; c < Tile::kK / 64; ++c) {
      device::load_box_2d(to + c * Tile::kSlabBytes, k_map, 128 * c, row, full);
    }
#pragma unroll
    for (int c = 0; c < Tile::kV / 64; ++c) {
      device::load_box_2d(values_at + c * Tile::kSlabBytes, v_map, 128 * c, row, full);
    }
  }
};

// This block's share, unit by unit, then word that there is no more.
template <typename Tile>
__device__ void bring_share(const AttentionArgs& p, const Shares& shares, Bringer<Tile>& bringer) {
  const int me = static_cast<int>(blockIdx.x);
  StreamWork work = {};
  if (me < shares.num) {
    int at = shares.begin(me);
    int left = shares.begin(me + 1) - at;
    int offset = bringer.shared.place.offset;
    int run = bringer.shared.place.run;
    RunPlace place = bringer.shared.place.of;
    int tile = 0;
    while (left > 0) {
      work.unit = tile_of(p, place, run, tile);
      const int weight = weight_of_tile(p, place, work.unit);
      if (offset >= weight * p.kv_heads) {
        offset -= weight * p.kv_heads;
        if (++tile == p.tiles) {
          tile = 0;
          place = place_of(p, ++run);
        }
        continue;
      }
      work.unit.head = offset / weight;
      const int skipped = offset - work.unit.head * weight;
      const int taken = min(weight - skipped, left);
      const int key_blocks = num_blocks_of(work.unit);
      const int before = max(0, skipped - p.unit_cost);
      work.block_begin = work.unit.key_begin / kKeyBlock + before;
      work.num_blocks = p.whole_units ? key_blocks : max(0, skipped + taken - p.unit_cost) - before;
      const int unit_at = at - skipped;
      offset += taken;
      at += taken;
      left -= taken;
      if (work.num_blocks == 0) continue;
      bringer.begin(work);
      work.first_block = me;
      work.split = 0;
      work.num_splits = 1;
      if (work.num_blocks < key_blocks) {
        work.first_block = shares.owner(unit_at + p.unit_cost);
        work.split = me - work.first_block;
        work.num_splits = shares.owner(unit_at + weight - 1) - work.first_block + 1;
      }
      set_merge(p, work);
      bringer.end(work);
      work.number += work.num_blocks;
    }
  }
  if (!bringer.waited) device::wait_for_inputs();
  work.num_blocks = 0;
  bringer.hand_over(work);
}

// Rows that see nothing are in nobody's share.
__device__ void write_zero_units(const AttentionArgs& p) {
  const int parts = p.v_dim / 8;
  for (int run = blockIdx.x; run < p.num_runs; run += gridDim.x) {
    const RunPlace place = place_of(p, run);
    if (place.rows > kDecodeRowsMax) continue;
    for (int tile = 0; tile < p.tiles; ++tile) {
      AttentionUnit unit = tile_of(p, place, run, tile);
      if (unit.num_rows <= 0 || unit.key_end > 0) continue;
      for (unit.head = 0; unit.head < p.kv_heads; ++unit.head) {
        for (int i = threadIdx.x % 32; i < unit.num_rows * parts; i += 32) {
          const int row = i / parts;
          uint16_t* const to = p.out + row_of(p, unit, row) * p.v_dim + (i - row * parts) * 8;
          *reinterpret_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
        }
      }
    }
  }
}

// --- Warps 0 to 7: a warp's 16 rows -------------------------------------------------------------
// What a lane gives to ldmatrix for 16 rows of a stage: 16-byte chunk 2 i + odd of its row. Rows
// begin at multiples of 128 bytes.
__device__ __forceinline__ uint32_t swizzled(int row, int odd) {
  return 128 * row + 16 * (odd ^ row % 8);
}
__device__ __forceinline__ uint32_t chunk_at(uint32_t swizzled_row, int i) {
  return swizzled_row ^ (32 * i);
}

// scores = q k^T for 16 keys. lane_keys: swizzled() of row lane % 8 + lane / 16 * 8, lane / 8 % 2.
template <typename Tile>
__device__ __forceinline__ void score_stage(float (&scores)[2][4], const Queries<Tile>& queries,
                                            uint32_t lane_keys) {
  float sums[2][2][4] = {};
#pragma unroll
  for (int c = 0; c < Tile::kK / 16; ++c) {
    uint32_t a[4];
    queries.fragment(a, c);
    uint32_t b[4];
    device::load_matrix_x4(b, chunk_at(lane_keys, c % 4) + c / 4 * Tile::kSlabBytes);
    device::mma_bf16(sums[c % 2][0], a, {b[0], b[1]});
    device::mma_bf16(sums[c % 2][1], a, {b[2], b[3]});
  }
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[n][i] = sums[0][n][i] + sums[1][n][i];
  }
}

// Bits of the two values (2 (lane % 4) and the next) of which the keys are in [begin, end).
__device__ __forceinline__ uint32_t kept_bits(int key, int begin, int end) {
  key += static_cast<int>(threadIdx.x) % 4 * 2;
  return (key >= begin && key < end ? 0x0000ffffu : 0u) |
         (key + 1 >= begin && key + 1 < end ? 0xffff0000u : 0u);
}

// sums += weights v for 16 keys; keep: bits of keys and of keys 8 further. What no row sees may be
// NaN, which a weight of zero would not silence. lane_values: swizzled() of lane % 16, lane / 16.
template <typename Tile, bool kEdge>
__device__ __forceinline__ void add_stage(RowSums<Tile>& sums, const float (&weights)[2][4],
                                          uint32_t lane_values, const uint32_t (&keep)[2]) {
  const uint32_t a[4] = {device::pack_bf16(weights[0][0], weights[0][1]),
                         device::pack_bf16(weights[0][2], weights[0][3]),
                         device::pack_bf16(weights[1][0], weights[1][1]),
                         device::pack_bf16(weights[1][2], weights[1][3])};
#pragma unroll
  for (int n = 0; n < Tile::kV / 8; n += 2) {
    uint32_t b[4];
    device::load_matrix_x4_transposed(b,
                                      chunk_at(lane_values, n % 8 / 2) + n / 8 * Tile::kSlabBytes);
    if constexpr (kEdge) {
#pragma unroll
      for (int i = 0; i < 4; ++i) b[i] &= keep[i % 2];
    }
    device::mma_bf16(sums.values[n], a, {b[0], b[1]});
    device::mma_bf16(sums.values[n + 1], a, {b[2], b[3]});
  }
}

// A group's stages of this work: those whose number in the block's life has the group's parity.
// `number`: of the work's first.
template <typename Tile>
__device__ void attend_stages(const AttentionArgs& p, const StreamWork& work, int row_tiles,
                              int number, uint32_t stages, StreamShared<Tile>& shared,
                              const Queries<Tile>& queries, RowSums<Tile>& sums) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32 % Tile::kWarps;
  const int group = threadIdx.x / 32 / Tile::kWarps;
  const int part = warp / row_tiles;
  const AttentionUnit& unit = work.unit;
  const int key_begin = unit.key_begin;
  const int key_end = unit.key_end;
  const int block_begin = work.block_begin;
  const int num_blocks = work.num_blocks;
  const uint32_t lane_keys = stages + swizzled(lane % 8 + lane / 16 * 8, lane / 8 % 2);
  const uint32_t lane_values = stages + Tile::kKeyBytes + swizzled(lane % 16, lane / 16);
  // All rows of the unit see the keys between.
  const int all_end = unit.position + unit.first / p.group + 1;
  const int all_begin = p.window > 0 ? max(0, key_end - p.window) : 0;
  for (int b = (number ^ group) & 1; b < num_blocks; b += 2) {
    const int stage = (number + b) % Tile::kStages;
    device::wait_parity(shared_address(&shared.full[stage]), (number + b) / Tile::kStages & 1);
    for (int t = 0; t < row_tiles; ++t) {
      const int at = 16 * (part * row_tiles + t);
      const int key = (block_begin + b) * kKeyBlock + at;
      if (key >= key_end || key + 16 <= key_begin) continue;
      float scores[2][4];
      const uint32_t rows = stage * Tile::kStageBytes + 128 * at;
      score_stage<Tile>(scores, queries, lane_keys + rows);
      if (key < all_begin || key + 16 > all_end) {
        mask(scores, sight_of(p, unit, warp % row_tiles * 16), key);
        sums.weigh(scores, p.scale_log2);
        const uint32_t keep[2] = {kept_bits(key, key_begin, key_end),
                                  kept_bits(key + 8, key_begin, key_end)};
        add_stage<Tile, true>(sums, scores, lane_values + rows, keep);
      } else {
        sums.weigh(scores, p.scale_log2);
        add_stage<Tile, false>(sums, scores, lane_values + rows, {0, 0});
      }
    }
    __syncwarp();
    if (lane == 0) device::arrive(shared_address(&shared.empty[stage]));
  }
  sums.add_lanes();
}

// --- Groups and blocks together -----------------------------------------------------------------
// Group 1's sums into group 0's, warp by warp and lane by lane. Called by both.
template <typename Tile>
__device__ void join_groups(RowSums<Tile>& sums, StreamShared<Tile>& shared) {
  constexpr int kParts = Tile::kV / 8;
  const int warp = threadIdx.x / 32 % Tile::kWarps;
  const int lane = threadIdx.x % 32;
  auto* const values = reinterpret_cast<float4*>(shared.sums.values[warp]);
  static_assert(kParts * 32 * sizeof(float4) <= sizeof(shared.sums.values[0]), "they fit");
  if (threadIdx.x >= Tile::kThreads / 2) {
#pragma unroll
    for (int n = 0; n < kParts; ++n) {
      const float(&x)[4] = sums.values[n];
      values[n * 32 + lane] = make_float4(x[0], x[1], x[2], x[3]);
    }
    shared.half_stats[warp][lane] =
        make_float4(sums.maximum[0], sums.maximum[1], sums.total[0], sums.total[1]);
  }
  sync_threads(kGroupsBarrier, Tile::kThreads);
  if (threadIdx.x >= Tile::kThreads / 2) return;
  const float4 stats = shared.half_stats[warp][lane];
  const float maximum[2] = {stats.x, stats.y};
  const float total[2] = {stats.z, stats.w};
  float mine[2];
  float other[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float now = fmaxf(sums.maximum[r], maximum[r]);
    mine[r] = exp2_fast(sums.maximum[r] - finite(now));
    other[r] = exp2_fast(maximum[r] - finite(now));
    sums.maximum[r] = now;
    sums.total[r] = mine[r] * sums.total[r] + other[r] * total[r];
  }
#pragma unroll
  for (int n = 0; n < kParts; ++n) {
    const float4 x = values[n * 32 + lane];
    float(&to)[4] = sums.values[n];
    to[0] = mine[0] * to[0] + other[0] * x.x;
    to[1] = mine[0] * to[1] + other[0] * x.y;
    to[2] = mine[1] * to[2] + other[1] * x.z;
    to[3] = mine[1] * to[3] + other[1] * x.w;
  }
  __syncwarp();
}

// Adds up each row over the group's warps. A whole unit is written out; else the parts go to the
// workspace, where a row's maximum and total lie beside each of its kMergeParts parts.
// kColumns: times four, or 0 where it is not known.
template <typename Tile, int kColumns>
__device__ __forceinline__ void put_columns(const AttentionArgs& p, const StreamWork& work,
                                            int row_tiles, const WarpSums<Tile>& shared) {
  const AttentionUnit& unit = work.unit;
  const bool whole = work.num_splits == 1;
  const int columns = kColumns > 0 ? kColumns : p.v_dim / 4;
  const int parts = Tile::kWarps / row_tiles;
  const int64_t first_row = partial_of(work.first_block, work.split) * kDecodeTileRows;
#pragma unroll 1
  for (int i = threadIdx.x; i < unit.num_rows * columns; i += Tile::kThreads) {
    const int row = i / columns;
    const int column = i - row * columns;
    const float sink = whole ? sink_of(p, unit, row) : kNever;
    float maximum = sink;
#pragma unroll 4
    for (int part = 0; part < parts; ++part) {
      maximum = fmaxf(maximum, shared.maximum[row / 16 + part * row_tiles][row % 16]);
    }
    const float base = finite(maximum);
    float total = exp2_fast(sink - base);
    float x[4] = {};
#pragma unroll 4
    for (int part = 0; part < parts; ++part) {
      const int w = row / 16 + part * row_tiles;
      const float weight = exp2_fast(shared.maximum[w][row % 16] - base);
      total += weight * shared.total[w][row % 16];
      add_weighted(x, weight,
                   *reinterpret_cast<const float4*>(&shared.values[w][row % 16][column * 4]));
    }
    if (whole) {
      store_bf16(p.out + row_of(p, unit, row) * p.v_dim + column * 4, x,
                 total > 0 ? 1 / total : 0.f);
      continue;
    }
    float* const to = p.part_sums + ((first_row + row) * columns + column) * 4;
    store_part(to, make_uint4(written(x[0]), written(x[1]), written(x[2]), written(x[3])));
    if (column % kMergeWidth == 0) {
      const int part = column / kMergeWidth;
      store_part(p.part_stats + ((first_row + row) * kMergeParts + part) * 2,
                 make_uint2(written(maximum), written(total)));
    }
  }
}
template <typename Tile>
__device__ __forceinline__ void put_sums(const AttentionArgs& p, const StreamWork& work,
                                         int row_tiles, const WarpSums<Tile>& shared) {
  if (p.v_dim == Tile::kV) return put_columns<Tile, Tile::kV / 4>(p, work, row_tiles, shared);
  put_columns<Tile, 0>(p, work, row_tiles, shared);
}

__device__ __forceinline__ int row_tiles_of(const StreamWork& work) {
  return work.unit.num_rows <= 16 ? 1 : work.unit.num_rows <= 32 ? 2 : 4;
}
template <typename Tile>
__device__ __forceinline__ int warp_of_group() {
  return static_cast<int>(threadIdx.x) / 32 % Tile::kWarps;
}

// Both groups: all work that warp 8 hands over, then what is shared with other blocks.
template <typename Tile>
__device__ void attend_share(const AttentionArgs& p, uint32_t stages, StreamShared<Tile>& shared) {
  const int lane = threadIdx.x % 32;
  uint32_t work_parity = 0;
  for (;;) {
    device::wait_parity(shared_address(&shared.work_full), work_parity);
    const StreamWork& work = shared.work[work_parity];
    work_parity ^= 1;
    if (work.num_blocks == 0) break;
    const int row_tiles = row_tiles_of(work);
    if (work.number == 0) {
      device::wait_for_inputs();
      copy_queries<Tile>(p, work.unit, 16 * row_tiles, shared_address(shared.queries));
      copy_async_commit();
      copy_async_wait<0>();
      device::fence_shared_for_async();
      sync_threads(kGroupsBarrier, Tile::kThreads);
    }
    Queries<Tile> queries;
    queries.load(shared_address(shared.queries) +
                 2 * 16 * (warp_of_group<Tile>() % row_tiles) * Tile::kKeyStride);
    __syncwarp();
    if (lane == 0) device::arrive(shared_address(&shared.work_empty));

    RowSums<Tile> sums;
    attend_stages(p, work, row_tiles, work.number, stages, shared, queries, sums);
    // A single block is one group's alone.
    const int group = work.num_blocks > 1 ? 0 : work.number & 1;
    if (work.num_blocks > 1) join_groups(sums, shared);
    if (static_cast<int>(threadIdx.x) / (Tile::kThreads / 2) == group) {
      share_sums(sums, shared.sums, warp_of_group<Tile>());
    }
    sync_threads(kGroupsBarrier, Tile::kThreads);
    put_sums<Tile>(p, work, row_tiles_of(work), shared.sums);
    if (work.num_splits > 1 && threadIdx.x == 0) shared.unmerged[shared.num_unmerged++] = work;
    sync_threads(kGroupsBarrier, Tile::kThreads);
  }
  const int num_unmerged = shared.num_unmerged;
  if (num_unmerged == 0) return;
  // Two shared units are a group's each.
  const int warps = num_unmerged == 1 ? 2 * Tile::kWarps : Tile::kWarps;
  const int team = static_cast<int>(threadIdx.x) / 32 / warps;
  auto* const scratch = reinterpret_cast<float4*>(shared.sums.values);
  static_assert(2 * Tile::kThreads * sizeof(float4) <= sizeof(shared.sums.values), "they fit");
  merge_parts<Tile>(p, shared.unmerged[team],
                    {static_cast<int>(threadIdx.x) / 32 % warps, warps, kGroupsBarrier + 1 + team},
                    scratch);
}

// --- Kernel: grid (blocks that fit the device at once) ------------------------------------------
template <typename Tile>
__global__ void __launch_bounds__(Tile::kBlockThreads, 1)
    attention_stream_kernel(const __grid_constant__ AttentionArgs p,
                            const __grid_constant__ CUtensorMap k_map,
                            const __grid_constant__ CUtensorMap v_map) {
  extern __shared__ __align__(1024) uint8_t stream_shared[];
  device::let_next_start();
  const uint32_t stages = (shared_address(stream_shared) + 1023) & ~1023u;
  auto& shared = *reinterpret_cast<StreamShared<Tile>*>(stream_shared +
                                                        (stages - shared_address(stream_shared)));
  for (int i = threadIdx.x; i < Tile::kQueryBytes / 16; i += Tile::kBlockThreads) {
    reinterpret_cast<uint4*>(shared.queries)[i] = make_uint4(0, 0, 0, 0);
  }
  device::fence_shared_for_async();
  if (threadIdx.x == 0) {
    shared.num_unmerged = 0;
    for (int s = 0; s < Tile::kStages; ++s) {
      device::init_barrier(shared_address(&shared.full[s]), 1);
      device::init_barrier(shared_address(&shared.empty[s]), Tile::kWarps);
    }
    device::init_barrier(shared_address(&shared.work_full), 1);
    device::init_barrier(shared_address(&shared.work_empty), Tile::kThreads / 32);
    device::fence_barriers();
    device::prefetch_map(k_map);
    device::prefetch_map(v_map);
  }
  const Shares shares = find_share(p, shared);
  __syncthreads();
  if (threadIdx.x >= Tile::kThreads) {
    Bringer<Tile> bringer{p, k_map, v_map, shared, stages};
    bring_share(p, shares, bringer);
    write_zero_units(p);
  } else {
    attend_share(p, stages, shared);
  }
}

}  // namespace mimo::kernels::cuda
