#pragma once

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/sampling.h"

// One row of logits in the shared memory of a cluster: block r holds the ids [begin, begin + size)
// of the r-th part. Every sum over tokens is of integers, so its order does not matter. All threads
// of the cluster call these together.
namespace mimo::kernels::cuda::row {

namespace cg = cooperative_groups;

constexpr int32_t kBlocks = 8;
constexpr int32_t kThreads = 512;
constexpr int32_t kWarps = kThreads / 32;
constexpr int32_t kDigitBits = 11;
constexpr int32_t kBins = 1 << kDigitBits;
constexpr int32_t kBinsABlock = kBins / kBlocks;
constexpr int32_t kMassParts = 3;  // a mass in digits whose sums over a block fit 32 bits
constexpr int32_t kMassPartBits = 15;
constexpr float kMassOne = 0x1p44f;  // the mass of weight 1; 2^18 of them fit 64 bits

// Ids a block, for the host: the same for all but the last. At most 2^17, so that parts of masses
// fit.
inline int32_t ids_a_block(int32_t vocab) { return ((vocab + kBlocks - 1) / kBlocks + 3) / 4 * 4; }
constexpr int32_t kIdsABlockMax = 1 << 17;

struct alignas(16) Shared {  // the logits behind it are read 16 bytes at a time
  uint64_t published[2];
  uint64_t warps[kWarps];
  uint64_t merged[kBinsABlock];  // this block's bins, summed over the cluster
  uint64_t merged_sum;
  uint64_t found_above;
  uint64_t best[kTopLogprobsMax];
  uint32_t found_bin;
  uint32_t parts[kMassParts][kBins];
};

inline int64_t shared_bytes(int32_t vocab) {
  return int64_t{sizeof(Shared)} + int64_t{ids_a_block(vocab)} * int64_t{sizeof(float)};
}

// The row's place in memory: column c of shard s is token s * shard_cols + c.
struct Source {
  const float* logits = nullptr;  // [num_shards][num_rows][shard_cols]
  int32_t shard_cols = 0;
  int32_t num_rows = 0;
  int32_t row = 0;
  bool aligned = false;  // every shard's row begins at a multiple of 16 bytes

  __device__ __forceinline__ const float* shard(int32_t s) const {
    return logits + (int64_t{s} * num_rows + row) * shard_cols;
  }
  __device__ __forceinline__ float at(int32_t id) const {
    return shard(id / shard_cols)[id % shard_cols];
  }
};

struct Row {
  Shared& shared;
  float* x;  // [size]
  int32_t vocab;
  int32_t begin;
  int32_t size;
  int32_t own_begin;  // the thread's own ids, in their order over threads and blocks
  int32_t own_end;
  int32_t turn = 0;  // which of `published` is next
};

// An integer that orders as the float does; the two zeros are one.
__device__ __forceinline__ uint32_t ordered_key(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0f);
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
}
__device__ __forceinline__ float key_value(uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}
// Orders by value, equal ones by the lower id.
__device__ __forceinline__ uint64_t packed(float x, int32_t id) {
  return uint64_t{ordered_key(x)} << 32 | ~static_cast<uint32_t>(id);
}
__device__ __forceinline__ float packed_value(uint64_t both) {
  return key_value(static_cast<uint32_t>(both >> 32));
}
__device__ __forceinline__ int32_t packed_id(uint64_t both) {
  return static_cast<int32_t>(~static_cast<uint32_t>(both));
}
__device__ __forceinline__ bool is_finite(float x) {
  return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u;
}
__device__ __forceinline__ float never() { return __uint_as_float(0xff800000u); }

__device__ inline Row make_row(Shared& shared, int32_t vocab) {
  const auto rank = static_cast<int32_t>(cg::this_cluster().block_rank());
  const int32_t part = ((vocab + kBlocks - 1) / kBlocks + 3) / 4 * 4;
  const int32_t begin = min(rank * part, vocab);
  const int32_t size = min(part, vocab - begin);
  // Odd, so that threads side by side read different banks.
  const int32_t own = (part + kThreads - 1) / kThreads | 1;
  const int32_t own_begin = min(static_cast<int32_t>(threadIdx.x) * own, size);
  return {shared,
          reinterpret_cast<float*>(&shared + 1),
          vocab,
          begin,
          size,
          own_begin,
          min(own_begin + own, size)};
}

__device__ inline void load(Row& row, const Source& source) {
  const auto tid = static_cast<int32_t>(threadIdx.x);
  const int32_t end = row.begin + row.size;
  for (int32_t low = row.begin; low < end;) {
    const int32_t shard = low / source.shard_cols;
    const int32_t first = shard * source.shard_cols;
    const int32_t count = min(end, first + source.shard_cols) - low;
    const float* const from = source.shard(shard) + (low - first);
    float* const to = row.x + (low - row.begin);
    int32_t done = 0;
    if (source.aligned) {
      const int32_t quads = count / 4;
#pragma unroll 4
      for (int32_t i = tid; i < quads; i += kThreads) {
        reinterpret_cast<float4*>(to)[i] = reinterpret_cast<const float4*>(from)[i];
      }
      done = quads * 4;
    }
    for (int32_t i = done + tid; i < count; i += kThreads) to[i] = from[i];
    low += count;
  }
  __syncthreads();
}

// --- Collectives: each ends past one barrier of the cluster -----------------------------------
// The value that block `rank` published last.
__device__ __forceinline__ uint64_t published(const Row& row, int32_t rank, int32_t turn) {
  return cg::this_cluster().map_shared_rank(&row.shared, rank)->published[turn];
}
// Makes this block's value (the same in all its threads) readable.
__device__ __forceinline__ int32_t publish(Row& row, uint64_t value) {
  const int32_t turn = row.turn;
  if (threadIdx.x == 0) row.shared.published[turn] = value;
  row.turn ^= 1;
  cg::this_cluster().sync();
  return turn;
}

struct Scan {
  uint64_t before = 0;  // in the threads and blocks before this thread
  uint64_t total = 0;   // in the cluster
};

// Over the block; `total` is the block's. Ends with reads of shared.warps.
__device__ inline Scan block_scan(Row& row, uint64_t value) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t warp = threadIdx.x / 32;
  uint64_t sum = value;
#pragma unroll
  for (uint32_t offset = 1; offset < 32; offset *= 2) {
    const uint64_t below = __shfl_up_sync(~0u, sum, offset);
    if (lane >= offset) sum += below;
  }
  if (lane == 31) row.shared.warps[warp] = sum;
  __syncthreads();
  Scan out{sum - value, 0};
#pragma unroll
  for (uint32_t w = 0; w < kWarps; ++w) {
    const uint64_t part = row.shared.warps[w];
    out.before += w < warp ? part : 0;
    out.total += part;
  }
  return out;
}

__device__ inline Scan scan(Row& row, uint64_t value) {
  const Scan block = block_scan(row, value);
  const int32_t turn = publish(row, block.total);
  const auto rank = static_cast<int32_t>(cg::this_cluster().block_rank());
  Scan out{block.before, 0};
#pragma unroll
  for (int32_t r = 0; r < kBlocks; ++r) {
    const uint64_t part = published(row, r, turn);
    out.before += r < rank ? part : 0;
    out.total += part;
  }
  return out;
}

__device__ inline uint64_t greatest(Row& row, uint64_t value) {
#pragma unroll
  for (int32_t offset = 16; offset > 0; offset /= 2) {
    const uint64_t other = __shfl_xor_sync(~0u, value, offset);
    value = max(value, other);
  }
  if (threadIdx.x % 32 == 0) row.shared.warps[threadIdx.x / 32] = value;
  __syncthreads();
#pragma unroll
  for (int32_t w = 0; w < kWarps; ++w) value = max(value, row.shared.warps[w]);
  const int32_t turn = publish(row, value);
#pragma unroll
  for (int32_t r = 0; r < kBlocks; ++r) value = max(value, published(row, r, turn));
  return value;
}

// The greatest logit as packed(); all ones where `finite_only` and some logit is not finite.
__device__ inline uint64_t greatest_logit(Row& row, bool finite_only) {
  uint64_t best = 0;
  bool bad = false;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < row.size; i += kThreads) {
    best = max(best, packed(row.x[i], row.begin + i));
    bad = bad || !is_finite(row.x[i]);
  }
  return greatest(row, finite_only && bad ? ~uint64_t{0} : best);
}

// --- Masses -------------------------------------------------------------------------------------
struct OneEach {
  static constexpr int32_t kParts = 1;
  __device__ __forceinline__ uint64_t operator()(float) const { return 1; }
};

// exp((x - max) / temperature), 1 for the greatest.
struct Weight {
  static constexpr int32_t kParts = kMassParts;
  float max = 0;
  float factor = 1;  // 1 / temperature
  __device__ __forceinline__ float weight(float x) const { return expf((x - max) * factor); }
  __device__ __forceinline__ uint64_t operator()(float x) const {
    return __float2ull_rn(weight(x) * kMassOne);
  }
};

template <typename Mass>
__device__ uint64_t total_mass(Row& row, const Mass& mass) {
  uint64_t sum = 0;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < row.size; i += kThreads) {
    sum += mass(row.x[i]);
  }
  return scan(row, sum).total;
}

// --- Cuts: the greatest whose masses sum to a bound
// ----------------------------------------------- What is inside: keys above `key`, and the first
// `ties` ids of those that equal it.
struct Cut {
  uint32_t key = 0;
  uint64_t ties = 0;
};

// Masses by the digit of the key at `shift`, of the keys whose higher bits are `prefix`.
template <typename Mass>
__device__ void fill_histogram(Row& row, const Mass& mass, int32_t shift, int32_t bits,
                               uint32_t prefix) {
  uint32_t* const all = &row.shared.parts[0][0];
  for (auto i = static_cast<int32_t>(threadIdx.x); i < Mass::kParts * kBins; i += kThreads) {
    all[i] = 0;
  }
  __syncthreads();
  const uint32_t mask = (1u << bits) - 1;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < row.size; i += kThreads) {
    const uint32_t key = ordered_key(row.x[i]);
    if (uint64_t{key} >> (shift + bits) != prefix) continue;
    const uint64_t m = mass(row.x[i]);
    const uint32_t bin = key >> shift & mask;
#pragma unroll
    for (int32_t part = 0; part < Mass::kParts; ++part) {
      const auto digit =
          static_cast<uint32_t>(m >> (part * kMassPartBits)) & ((1u << kMassPartBits) - 1);
      if (digit != 0) atomicAdd(&row.shared.parts[part][bin], digit);
    }
  }
  cg::this_cluster().sync();
}

// shared.merged and merged_sum: the cluster's masses of this block's bins.
template <typename Mass>
__device__ void merge_histograms(Row& row) {
  const cg::cluster_group cluster = cg::this_cluster();
  uint64_t sum = 0;
  if (threadIdx.x < kBinsABlock) {
    const uint32_t bin = cluster.block_rank() * kBinsABlock + threadIdx.x;
#pragma unroll
    for (int32_t r = 0; r < kBlocks; ++r) {
      const Shared* const other = cluster.map_shared_rank(&row.shared, r);
#pragma unroll
      for (int32_t part = 0; part < Mass::kParts; ++part) {
        sum += uint64_t{other->parts[part][bin]} << (part * kMassPartBits);
      }
    }
    row.shared.merged[threadIdx.x] = sum;
  }
  const Scan block = block_scan(row, sum);
  if (threadIdx.x == 0) row.shared.merged_sum = block.total;
  cluster.sync();
}

struct Bin {
  uint32_t bin = 0;
  uint64_t above = 0;  // the mass of all greater keys
};

// The bin in which the mass from the top reaches `bound`, `above` lying over all of them.
__device__ inline Bin find_bin(Row& row, uint64_t above, uint64_t bound) {
  const cg::cluster_group cluster = cg::this_cluster();
  int32_t rank = kBlocks - 1;
  for (; rank > 0; --rank) {
    const uint64_t part = cluster.map_shared_rank(&row.shared, rank)->merged_sum;
    if (above + part >= bound) break;
    above += part;
  }
  // Threads go from the top.
  const uint32_t at = kBinsABlock - 1 - threadIdx.x % kBinsABlock;
  const bool has_bin = threadIdx.x < kBinsABlock;
  const uint64_t mass =
      has_bin ? cluster.map_shared_rank(&row.shared, rank)->merged[at] : uint64_t{0};
  const uint64_t over = above + block_scan(row, mass).before;
  if (has_bin && over < bound && over + mass >= bound) {
    row.shared.found_bin = static_cast<uint32_t>(rank) * kBinsABlock + at;
    row.shared.found_above = over;
  }
  __syncthreads();
  return {row.shared.found_bin, row.shared.found_above};
}

// 0 < bound <= the mass of all.
template <typename Mass>
__device__ Cut find_cut(Row& row, const Mass& mass, uint64_t bound) {
  Bin found;
  uint32_t prefix = 0;
#pragma unroll 1
  for (int32_t shift = 32 - kDigitBits; shift >= 0;) {
    const int32_t bits = shift == 0 ? 32 - 2 * kDigitBits : kDigitBits;
    fill_histogram(row, mass, shift, bits, prefix);
    merge_histograms<Mass>(row);
    found = find_bin(row, found.above, bound);
    prefix = prefix << bits | found.bin;
    shift = shift == 0 ? -1 : max(shift - kDigitBits, 0);
  }
  const uint64_t each = mass(key_value(prefix));
  return {prefix, (bound - found.above + each - 1) / each};
}

// How many of the ids before the thread's own have the key.
__device__ inline uint64_t equals_before(Row& row, uint32_t key) {
  uint64_t equal = 0;
  for (int32_t i = row.own_begin; i < row.own_end; ++i) {
    equal += ordered_key(row.x[i]) == key ? 1 : 0;
  }
  return scan(row, equal).before;
}

// What lies outside can be drawn no more.
__device__ inline void apply(Row& row, Cut cut) {
  uint64_t equal = equals_before(row, cut.key);
  for (int32_t i = row.own_begin; i < row.own_end; ++i) {
    const uint32_t key = ordered_key(row.x[i]);
    const bool inside = key > cut.key || (key == cut.key && equal < cut.ties);
    equal += key == cut.key ? 1 : 0;
    if (!inside) row.x[i] = never();
  }
  __syncthreads();
}

}  // namespace mimo::kernels::cuda::row
