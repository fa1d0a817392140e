#pragma once

#include "kernels/cuda/attention/attention_shares.cuh"

// Blocks of the streaming decode kernel that share a unit: each leaves its part in the workspace
// and merges some of the rows' columns.
namespace mimo::kernels::cuda {

// --- Parts in the workspace ---------------------------------------------------------------------
// Nothing says that a part is there but its words: until they are written they are kMissing, which
// is what no result is. So a part crosses the device in the time of one write and one read.
constexpr uint32_t kMissing = 0xffffffffu;
__device__ __forceinline__ uint32_t written(float value) {
  const uint32_t bits = __float_as_uint(value);
  return bits == kMissing ? 0x7fffffffu : bits;  // one NaN or another
}
__device__ __forceinline__ bool missing(const uint2& x) {
  return x.x == kMissing || x.y == kMissing;
}
__device__ __forceinline__ bool missing(const uint4& x) {
  return x.x == kMissing || x.y == kMissing || x.z == kMissing || x.w == kMissing;
}
__device__ __forceinline__ uint2 load_part2(const float* from) {
  uint2 x;
  asm volatile("ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "l"(from));
  return x;
}
__device__ __forceinline__ uint4 load_part4(const float* from) {
  uint4 x;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "l"(from));
  return x;
}
__device__ __forceinline__ void store_part(float* to, const uint2& x) {
  asm volatile("st.relaxed.gpu.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(x.x), "r"(x.y));
}
__device__ __forceinline__ void store_part(float* to, const uint4& x) {
  asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(x.x), "r"(x.y),
               "r"(x.z), "r"(x.w));
}
__device__ __forceinline__ void add_weighted(float (&x)[4], float weight, const float4& y) {
  x[0] += weight * y.x;
  x[1] += weight * y.y;
  x[2] += weight * y.z;
  x[3] += weight * y.w;
}

// A row's columns in parts of so many times four.
constexpr int kMergeWidth = 8;
static_assert(4 * kMergeWidth * kMergeParts == 128, "all columns of the widest values");

// Where split `split` of a unit lies in the workspace: a block has the end of one unit, or parts of
// its middle, in the first of its two places, and the beginning of one in the second.
__device__ __forceinline__ int64_t partial_of(int first_block, int split) {
  return split == 0 ? 2 * first_block + 1 : 2 * (first_block + split);
}

// --- Merging ------------------------------------------------------------------------------------
// Splits of a row's part, added up one after the other.
struct MergeSum {
  float maximum = kNever;
  float total = 0;
  float x[4] = {};

  __device__ __forceinline__ void add(float their_maximum, float their_total, const float4& y) {
    const float now = fmaxf(maximum, their_maximum);
    const float mine = exp2_fast(maximum - finite(now));
    const float theirs = exp2_fast(their_maximum - finite(now));
    maximum = now;
    total = mine * total + theirs * their_total;
#pragma unroll
    for (int j = 0; j < 4; ++j) x[j] *= mine;
    add_weighted(x, theirs, y);
  }
  __device__ __forceinline__ void add_lane(int lanes_apart) {
    const auto other = [lanes_apart](float value) {
      return __shfl_xor_sync(kAllLanes, value, lanes_apart);
    };
    const float4 y = make_float4(other(x[0]), other(x[1]), other(x[2]), other(x[3]));
    const float their_maximum = other(maximum);
    const float their_total = other(total);
    // Both lanes add in one order, so that they agree.
    const bool second = threadIdx.x % 32 & lanes_apart;
    MergeSum sum = *this;
    if (second) {
      sum = {their_maximum, their_total, {y.x, y.y, y.z, y.w}};
      sum.add(maximum, total, make_float4(x[0], x[1], x[2], x[3]));
    } else {
      sum.add(their_maximum, their_total, y);
    }
    *this = sum;
  }
};

// Warps that merge together.
struct MergeTeam {
  int warp;
  int num_warps;  // 4 or 8
  int barrier;
};

// What this block merges of a unit that it shares with others.
__device__ __forceinline__ void set_merge(const AttentionArgs& p, StreamWork& work) {
  const int items = work.unit.num_rows * kMergeParts;
  work.merge_begin = items * work.split / work.num_splits;
  work.merge_num = items * (work.split + 1) / work.num_splits - work.merge_begin;
}

// An item: a part of a row.
struct MergeItem {
  int row;
  int part;
  int column;   // four of them: this lane's
  bool there;   // the part has columns
  bool active;  // this one
};
__device__ __forceinline__ MergeItem merge_item(const AttentionArgs& p, int item, bool there) {
  MergeItem out;
  out.row = item / kMergeParts;
  out.part = item % kMergeParts;
  out.column = out.part * kMergeWidth + static_cast<int>(threadIdx.x) % kMergeWidth;
  out.there = there && out.part * kMergeWidth < p.v_dim / 4;
  out.active = there && out.column < p.v_dim / 4;
  return out;
}

// Splits first, first + step ... of an item, and `first` of the warp's first lane. What was read is
// marked as missing again, for the next launch.
__device__ __forceinline__ MergeSum collect(const AttentionArgs& p, const StreamWork& work,
                                            const MergeItem& item, int first, int warp_first,
                                            int step) {
  constexpr int kAhead = 6;
  const int columns = p.v_dim / 4;
  const int num_splits = work.num_splits;
  // Split 0 has another place than the splits in their order.
  const int64_t row = int64_t{partial_of(work.first_block, 1) - 2} * kDecodeTileRows + item.row;
  float* const values = p.part_sums + (row * columns + item.column) * 4;
  float* const all_stats = p.part_stats + (row * kMergeParts + item.part) * 2;
  const auto rows_to = [](int split) { return (split == 0 ? 1 : 2 * split) * kDecodeTileRows; };
  const auto value_at = [&](int split) { return values + rows_to(split) * columns * 4; };
  const auto stats_at = [&](int split) { return all_stats + rows_to(split) * kMergeParts * 2; };
  MergeSum sum;
#pragma unroll 1
  for (int begin = 0; begin < num_splits; begin += kAhead * step) {
    uint4 x[kAhead];
    uint2 stats[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int split = begin + first + j * step;
      x[j] = make_uint4(0, 0, 0, 0);
      stats[j] = make_uint2(__float_as_uint(kNever), 0);
      if (begin + warp_first + j * step >= num_splits) continue;
      if (item.there && split < num_splits) stats[j] = load_part2(stats_at(split));
      if (item.active && split < num_splits) x[j] = load_part4(value_at(split));
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int split = begin + first + j * step;
      if (begin + warp_first + j * step >= num_splits) break;
      while (missing(stats[j])) stats[j] = load_part2(stats_at(split));
      while (missing(x[j])) x[j] = load_part4(value_at(split));
    }
    __syncwarp();
    // At once: what stands for a split that is not there weighs nothing.
    MergeSum now;
#pragma unroll
    for (int j = 0; j < kAhead; ++j) now.maximum = fmaxf(now.maximum, __uint_as_float(stats[j].x));
    const float base = finite(now.maximum);
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const float weight = exp2_fast(__uint_as_float(stats[j].x) - base);
      now.total += weight * __uint_as_float(stats[j].y);
      add_weighted(now.x, weight,
                   make_float4(__uint_as_float(x[j].x), __uint_as_float(x[j].y),
                               __uint_as_float(x[j].z), __uint_as_float(x[j].w)));
    }
    if (begin == 0) {
      sum = now;
    } else {
      sum.add(now.maximum, now.total, make_float4(now.x[0], now.x[1], now.x[2], now.x[3]));
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int split = begin + first + j * step;
      if (split >= num_splits) break;
      if (item.active) {
        store_part(value_at(split), make_uint4(kMissing, kMissing, kMissing, kMissing));
      }
      if (item.there && threadIdx.x % kMergeWidth == 0) {
        store_part(stats_at(split), make_uint2(kMissing, kMissing));
      }
    }
  }
  return sum;
}

__device__ __forceinline__ void store_merged(const AttentionArgs& p, const AttentionUnit& unit,
                                             const MergeItem& item, const MergeSum& sum) {
  const float sink = sink_of(p, unit, item.row);
  const float base = finite(fmaxf(sum.maximum, sink));
  const float mine = exp2_fast(sum.maximum - base);
  const float total = mine * sum.total + exp2_fast(sink - base);
  store_bf16(p.out + row_of(p, unit, item.row) * p.v_dim + item.column * 4, sum.x,
             total > 0 ? mine / total : 0.f);
}

// This block's items of a unit that it shares with other blocks, once their parts are there; all
// blocks are on the device at once. Eight lanes take an item; where there are many splits, two or
// four times eight lanes share them out, and where there are few items besides, several warps.
// Everything is added in one order.
template <typename Tile>
__device__ __forceinline__ void merge_parts(const AttentionArgs& p, const StreamWork& work,
                                            const MergeTeam& team, float4* scratch) {
  const int lane = threadIdx.x % 32;
  const int num = work.merge_num;
  if (num == 0) return;
  const int lanes_log2 = work.num_splits <= 8 ? 0 : work.num_splits <= 16 ? 1 : 2;  // times eight
  int sharers_log2 = 0;
  while (lanes_log2 == 2 && num << (sharers_log2 + 1) <= team.num_warps) ++sharers_log2;
  const int sharer = team.warp & ((1 << sharers_log2) - 1);
  const int warp_items = 4 >> lanes_log2;
  const int step = (team.num_warps >> sharers_log2) * warp_items;
#pragma unroll 1
  for (int i = (team.warp >> sharers_log2) * warp_items; i < num || sharers_log2 > 0; i += step) {
    const int at = i + (lane / 8 >> lanes_log2);
    const MergeItem item = merge_item(p, work.merge_begin + min(at, num - 1), at < num);
    const int warp_first = sharer << lanes_log2;
    MergeSum sum = collect(p, work, item, warp_first + (lane / 8 & ((1 << lanes_log2) - 1)),
                           warp_first, 1 << (lanes_log2 + sharers_log2));
    if (lanes_log2 > 0) sum.add_lane(8);
    if (lanes_log2 > 1) sum.add_lane(16);
    if (sharers_log2 > 0) {  // then this is the only time round
      if (lane < 8) {
        scratch[2 * threadIdx.x] = make_float4(sum.x[0], sum.x[1], sum.x[2], sum.x[3]);
        scratch[2 * threadIdx.x + 1] = make_float4(sum.maximum, sum.total, 0, 0);
      }
      sync_threads(team.barrier, 32 * team.num_warps);
      if (at >= num || sharer > 0) return;
      for (int other = 1; lane < 8 && other >> sharers_log2 == 0; ++other) {
        const float4 stats = scratch[2 * (threadIdx.x + 32 * other) + 1];
        sum.add(stats.x, stats.y, scratch[2 * (threadIdx.x + 32 * other)]);
      }
    }
    if (item.active && (lane / 8 & ((1 << lanes_log2) - 1)) == 0) {
      store_merged(p, work.unit, item, sum);
    }
    if (sharers_log2 > 0) return;
  }
}

}  // namespace mimo::kernels::cuda
