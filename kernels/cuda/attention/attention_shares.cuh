#pragma once

#include "kernels/cuda/attention/attention_decode.cuh"

// What the streaming decode kernel (attention_stream.cuh) works on, and how it is cut into shares.
namespace mimo::kernels::cuda {

// --- Tile ---------------------------------------------------------------------------------------
template <int kK_, int kV_, int kStages_>
struct StreamTile {
  static constexpr int kK = kK_;
  static constexpr int kV = kV_;
  static constexpr int kStages = kStages_;
  static constexpr int kWarps = 4;      // of a group
  static constexpr int kThreads = 256;  // of both groups
  static constexpr int kBlockThreads = kThreads + 32;
  static constexpr int kRows = kDecodeTileRows;
  static constexpr int kKeyStride = kK + 8;  // of queries: as in AttentionTile
  static constexpr int kQueryBytes = 2 * kRows * kKeyStride;
  static constexpr bool kHoldQueries = true;
  // Keys, then values: slabs of 64 columns, each kKeyBlock rows of 128 bytes whose 16-byte chunk c
  // lies at place c ^ (row % 8).
  static constexpr int kSlabBytes = 128 * kKeyBlock;
  static constexpr int kKeyBytes = kK / 64 * kSlabBytes;
  static constexpr int kStageBytes = (kK + kV) / 64 * kSlabBytes;
  static_assert(kK % 64 == 0 && kV % 64 == 0, "slabs of 64 columns");
  static_assert(kK <= 192 && kV <= 128, "queries and sums stay in registers");
};

// A part of a unit that a block does.
struct StreamWork {
  AttentionUnit unit;
  int32_t block_begin;
  int32_t num_blocks;  // of kKeyBlock keys; 0: there is no more work
  int32_t number;      // of the first stage, in the thread block's life
  int32_t split;       // of the num_splits blocks that share the unit, in the keys' order
  int32_t num_splits;
  int32_t first_block;  // the thread block that does split 0
  int32_t merge_begin;  // items that this block merges: kMergeParts of each row
  int32_t merge_num;
};

// Where a share begins: `offset` units of weight behind the run's first.
struct StreamPlace {
  int32_t run;
  int32_t offset;
  RunPlace of;  // the run
};

template <typename Tile>
struct StreamShared {
  uint8_t stages[Tile::kStages][Tile::kStageBytes];
  uint8_t queries[Tile::kQueryBytes];
  alignas(16) WarpSums<Tile> sums;
  float4 half_stats[Tile::kWarps][32];
  StreamWork work[2];  // in turns: one is read while the next is written
  StreamWork unmerged[2];
  int32_t num_unmerged;
  StreamPlace place;
  int32_t warp_weights[Tile::kBlockThreads / 32];
  uint64_t full[Tile::kStages];
  uint64_t empty[Tile::kStages];
  uint64_t work_full;
  uint64_t work_empty;
};
// The ring begins at a multiple of 1024 bytes.
template <typename Tile>
constexpr int kStreamSharedBytes = sizeof(StreamShared<Tile>) + 1024;

__device__ __forceinline__ void sync_threads(int barrier, int num_threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(num_threads) : "memory");
}
constexpr int kGroupsBarrier = 1;

// --- Shares -------------------------------------------------------------------------------------
__device__ __forceinline__ int num_blocks_of(const AttentionUnit& unit) {
  if (unit.num_rows <= 0 || unit.key_end <= 0) return 0;
  return (unit.key_end + kKeyBlock - 1) / kKeyBlock - unit.key_begin / kKeyBlock;
}

// What a unit counts for in the shares: its key blocks and what its beginning costs, or where units
// are not split, one.
__device__ __forceinline__ int weight_of(const AttentionArgs& p, const AttentionUnit& unit) {
  const int num = num_blocks_of(unit);
  if (p.whole_units) return min(num, 1);
  return num > 0 ? num + p.unit_cost : 0;
}

__device__ __forceinline__ AttentionUnit tile_of(const AttentionArgs& p, const RunPlace& place,
                                                 int run, int tile) {
  return unit_at(p, place, run, 0, tile * kDecodeTileRows, kDecodeTileRows);
}

// Nothing where the run is not the decode kernel's.
__device__ __forceinline__ int weight_of_tile(const AttentionArgs& p, const RunPlace& place,
                                              const AttentionUnit& unit) {
  return place.rows <= kDecodeRowsMax ? weight_of(p, unit) : 0;
}

__device__ __forceinline__ int weight_of_run(const AttentionArgs& p, const RunPlace& place,
                                             int run) {
  int weight = 0;
#pragma unroll 1
  for (int tile = 0; tile < p.tiles; ++tile) {
    weight += weight_of_tile(p, place, tile_of(p, place, run, tile));
  }
  return weight * p.kv_heads;
}

// The whole weight, cut into num shares: share i is [begin(i), begin(i + 1)).
struct Shares {
  int32_t weight;
  int32_t num;
  __device__ __forceinline__ int begin(int i) const {
    return quotient(uint64_t{static_cast<uint32_t>(weight)} * i, num);
  }
  // The share that has piece `at` of the weight.
  __device__ __forceinline__ int owner(int at) const {
    return quotient((uint64_t{static_cast<uint32_t>(at)} + 1) * num - 1, weight);
  }
  // Long division is slow, and hardly ever needed.
  __device__ __forceinline__ static int quotient(uint64_t a, int b) {
    if (a >> 32 == 0) return static_cast<int>(static_cast<uint32_t>(a) / static_cast<uint32_t>(b));
    return static_cast<int>(a / static_cast<uint32_t>(b));
  }
};

// Inclusive sum over the block's threads, and over all of them.
template <typename Tile>
__device__ __forceinline__ int2 scan(StreamShared<Tile>& shared, int value) {
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  for (int o = 1; o < 32; o *= 2) {
    const int more = __shfl_up_sync(kAllLanes, value, o);
    if (lane >= o) value += more;
  }
  __syncthreads();
  if (lane == 31) shared.warp_weights[warp] = value;
  __syncthreads();
  int all = 0;
#pragma unroll
  for (int w = 0; w < Tile::kBlockThreads / 32; ++w) {
    if (w < warp) value += shared.warp_weights[w];
    all += shared.warp_weights[w];
  }
  return make_int2(value, all);
}

// The shares; and in shared.place where this block's begins. Called by the whole block, which sees
// shared.place after a barrier.
template <typename Tile>
__device__ Shares find_share(const AttentionArgs& p, StreamShared<Tile>& shared) {
  constexpr int kThreads = Tile::kBlockThreads;
  int run = static_cast<int>(threadIdx.x);
  RunPlace place = {};
  if (run < p.num_runs) place = place_of(p, run);
  int weight = weight_of_run(p, place, run);
  int2 sums = scan(shared, weight);
  Shares shares = {sums.y, 0};
  if (p.num_runs > kThreads) {
    int more = 0;
    for (int later = run + kThreads; later < p.num_runs; later += kThreads) {
      more += weight_of_run(p, place_of(p, later), later);
    }
    shares.weight += scan(shared, more).y;
  }
  shares.num = min(static_cast<int>(gridDim.x), (shares.weight + p.share_min - 1) / p.share_min);
  if (static_cast<int>(blockIdx.x) >= shares.num) return shares;
  const int begin = shares.begin(static_cast<int>(blockIdx.x));
  for (int before = 0;;) {
    const int from = before + sums.x - weight;
    if (begin >= from && begin < from + weight) shared.place = {run, begin - from, place};
    before += sums.y;
    if (before > begin) return shares;
    run += kThreads;
    place = {};
    if (run < p.num_runs) place = place_of(p, run);
    weight = weight_of_run(p, place, run);
    sums = scan(shared, weight);
  }
}

}  // namespace mimo::kernels::cuda
