#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_args.h"
#include "kernels/device/cp_async.cuh"
#include "kernels/device/mma.cuh"

// What the decode and the prompt kernel share: a block of packed query rows in shared memory, a
// ring of key blocks behind it, and the steps of a warp's 16 rows over them. Widths below the
// tile's are filled up with zeros, which change no product.
namespace mimo::kernels::cuda {

using device::copy_async_16;
using device::copy_async_commit;
using device::copy_async_wait;
using device::shared_address;

constexpr float kNever = -__builtin_huge_valf();
constexpr unsigned kAllLanes = 0xffffffffu;

// --- Tile ---------------------------------------------------------------------------------------
template <int kK_, int kV_, int kWarps_, int kRows_, int kStages_, bool kHold_ = (kK_ <= 192)>
struct AttentionTile {
  static constexpr int kK = kK_;
  static constexpr int kV = kV_;
  static constexpr int kWarps = kWarps_;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRows = kRows_;
  static constexpr int kStages = kStages_;
  // Rows of 16-bit values lie 16 bytes further than a multiple of 128 apart, so that the eight
  // rows of an ldmatrix touch every bank once.
  static constexpr int kKeyStride = kK + 8;
  static constexpr int kValueStride = kV + 8;
  static constexpr int kQueryBytes = 2 * kRows * kKeyStride;
  static constexpr int kKeyBytes = 2 * kKeyBlock * kKeyStride;
  static constexpr int kStageBytes = kKeyBytes + 2 * kKeyBlock * kValueStride;
  static constexpr int kSharedBytes = kQueryBytes + kStages * kStageBytes;
  // Query fragments stay in registers where they leave room for the sums.
  static constexpr bool kHoldQueries = kHold_;
  static_assert(kK % 64 == 0 && kV % 64 == 0, "eight lanes copy 64 columns of a row at a time");
  static_assert(kV <= kK, "the results are staged where the queries were");
};

// --- What a block works on ----------------------------------------------------------------------
struct AttentionUnit {
  int32_t run;
  int32_t head;         // kv head
  int32_t token_begin;  // of the run, in [0, T)
  int32_t position;     // of the run's first row
  int32_t first;        // packed row
  int32_t num_rows;     // packed rows of this block
  int32_t key_begin;    // keys that some row sees
  int32_t key_end;
  const int32_t* table;  // the run's row of the page tables
};

// A run's place in the step and its row of the page tables, loaded at once.
struct RunPlace {
  int32_t token_begin;
  int32_t rows;
  int32_t context;
  int32_t table_row;
};
__device__ __forceinline__ RunPlace place_of(const AttentionArgs& p, int run) {
  RunPlace place;
  place.token_begin = p.row_begin[run];
  const int32_t token_end = p.row_begin[run + 1];
  place.context = p.context[run];
  place.table_row = p.slot == nullptr ? run : p.slot[run];
  place.rows = token_end - place.token_begin;
  return place;
}

// `tile_rows` packed rows from `first` on; num_rows <= 0 where the run has none there, key_end <= 0
// where its rows see nothing.
__device__ __forceinline__ AttentionUnit unit_at(const AttentionArgs& p, const RunPlace& place,
                                                 int run, int head, int first, int tile_rows) {
  AttentionUnit unit;
  unit.run = run;
  unit.head = head;
  unit.token_begin = place.token_begin;
  unit.position = place.context - place.rows;
  unit.first = first;
  unit.num_rows = min(tile_rows, place.rows * p.group - first);
  unit.key_end = 0;
  unit.key_begin = 0;
  if (place.context > 0 && unit.num_rows > 0) {
    const int oldest = unit.position + first / p.group;
    unit.key_end = unit.position + (first + unit.num_rows - 1) / p.group + 1;
    if (p.window > 0) unit.key_begin = max(0, oldest - p.window + 1);
  }
  unit.table = p.pages + int64_t{place.table_row} * p.stride;
  return unit;
}
__device__ __forceinline__ AttentionUnit unit_at(const AttentionArgs& p, int run, int head,
                                                 int first, int tile_rows) {
  return unit_at(p, place_of(p, run), run, head, first, tile_rows);
}

// The row of `out` (or q) that packed row `i` of the unit is.
__device__ __forceinline__ int64_t row_of(const AttentionArgs& p, const AttentionUnit& unit,
                                          int i) {
  const int packed = unit.first + i;
  const int token = packed / p.group;
  return int64_t{unit.token_begin + token} * p.kv_heads * p.group + unit.head * p.group + packed -
         token * p.group;
}

// Softmax weight's logit of packed row i, in powers of two; kNever where there are no sinks.
__device__ __forceinline__ float sink_of(const AttentionArgs& p, const AttentionUnit& unit, int i) {
  if (p.sinks == nullptr) return kNever;
  return p.sinks[unit.head * p.group + (unit.first + i) % p.group] * 1.4426950408889634f;
}

template <typename Tile>
__device__ void write_zeros(const AttentionArgs& p, const AttentionUnit& unit) {
  const int parts = p.v_dim / 8;
  for (int i = threadIdx.x; i < unit.num_rows * parts; i += Tile::kThreads) {
    const int row = i / parts;
    uint16_t* const to = p.out + row_of(p, unit, row) * p.v_dim + (i - row * parts) * 8;
    *reinterpret_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
  }
}

// --- Copies into shared memory ------------------------------------------------------------------
// The first `num` packed rows (16, 32, ...); rows that the unit has not become zeros.
template <typename Tile>
__device__ void copy_queries(const AttentionArgs& p, const AttentionUnit& unit, int num,
                             uint32_t to) {
  const int part = threadIdx.x % 8 * 8;
#pragma unroll 1
  for (int row = threadIdx.x / 8; row < num; row += Tile::kThreads / 8) {
    const bool there = row < unit.num_rows;
    const uint16_t* const from = p.q + (there ? row_of(p, unit, row) * p.k_dim : 0);
#pragma unroll
    for (int c = 0; c < Tile::kK; c += 64) {
      const bool inside = there && c + part < p.k_dim;
      copy_async_16(to + 2 * (row * Tile::kKeyStride + c + part), inside ? from + c + part : p.q,
                    inside);
    }
  }
}

// Of the four times 16 keys of block `block`, where the page of those that are lane % 4's begins,
// in rows of a pool. A row of both pools takes 32 bytes at least, so 32 bits count 137 GB of them.
__device__ __forceinline__ uint32_t page_rows_of(const AttentionArgs& p, const AttentionUnit& unit,
                                                 int block) {
  const int key = block * kKeyBlock + static_cast<int>(threadIdx.x % 4) * 16;
  if (key >= unit.key_end || key + 16 <= unit.key_begin) return 0;
  const auto page = static_cast<uint32_t>(unit.table[(key >> p.page_shift) % p.stride]);
  return (page * p.kv_heads + unit.head) << p.page_shift;
}

// One block of keys and values; `page_rows` from page_rows_of(). What no row sees becomes zeros and
// is not read: it may hold NaN, which a weight of zero would not silence.
template <typename Tile>
__device__ __forceinline__ void copy_keys(const AttentionArgs& p, const AttentionUnit& unit,
                                          int block, uint32_t page_rows, uint32_t to) {
  constexpr int kPassRows = Tile::kThreads / 8;
  static_assert(kKeyBlock % kPassRows == 0, "every thread copies as many rows");
  const int part = threadIdx.x % 8 * 8;
  const uint16_t* const k_part = p.k + part;
  const uint16_t* const v_part = p.v + part;
#pragma unroll
  for (int pass = 0; pass < kKeyBlock / kPassRows; ++pass) {
    const int row = pass * kPassRows + static_cast<int>(threadIdx.x) / 8;
    const uint32_t first = __shfl_sync(kAllLanes, page_rows, row / 16);
    const int key = block * kKeyBlock + row;
    const bool there = key >= unit.key_begin && key < unit.key_end;
    const uint32_t at = first + (key & ((1 << p.page_shift) - 1));
    const uint16_t* const k = k_part + uint64_t{at} * static_cast<uint32_t>(p.k_dim);
    const uint16_t* const v = v_part + uint64_t{at} * static_cast<uint32_t>(p.v_dim);
    const uint32_t to_key = to + 2 * (row * Tile::kKeyStride + part);
    const uint32_t to_value = to + Tile::kKeyBytes + 2 * (row * Tile::kValueStride + part);
#pragma unroll
    for (int c = 0; c < Tile::kK; c += 64) {
      copy_async_16(to_key + 2 * c, k + c, there && c + part < p.k_dim);
    }
#pragma unroll
    for (int c = 0; c < Tile::kV; c += 64) {
      copy_async_16(to_value + 2 * c, v + c, there && c + part < p.v_dim);
    }
  }
}

// --- A warp's 16 rows ---------------------------------------------------------------------------
// Addresses that a lane gives to ldmatrix, relative to the first of 16 rows.
template <int kStride>
__device__ __forceinline__ uint32_t lane_offset_rows_first() {  // queries; values, transposed
  const int lane = threadIdx.x % 32;
  return 2 * (lane % 16 * kStride + lane / 16 * 8);
}
template <int kStride>
__device__ __forceinline__ uint32_t lane_offset_columns_first() {  // keys
  const int lane = threadIdx.x % 32;
  return 2 * ((lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8);
}

template <typename Tile>
struct Queries {
  uint32_t address;
  uint32_t held[Tile::kHoldQueries ? Tile::kK / 16 : 1][4];

  // `rows`: the warp's first row in shared memory.
  __device__ __forceinline__ void load(uint32_t rows) {
    address = rows + lane_offset_rows_first<Tile::kKeyStride>();
    if constexpr (Tile::kHoldQueries) {
#pragma unroll
      for (int c = 0; c < Tile::kK / 16; ++c) device::load_matrix_x4(held[c], address + 32 * c);
    }
  }
  __device__ __forceinline__ void fragment(uint32_t (&a)[4], int c) const {
    if constexpr (Tile::kHoldQueries) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = held[c][i];
    } else {
      device::load_matrix_x4(a, address + 32 * c);
    }
  }
};

// scores[n] += q k^T for keys 8 n .. 8 n + 7 from `keys` on (an address in shared memory). kChains
// sums run side by side where there are few keys.
template <typename Tile, int kN, int kChains>
__device__ __forceinline__ void score(float (&scores)[kN][4], const Queries<Tile>& queries,
                                      uint32_t keys) {
  float sums[kChains][kN][4] = {};
  const uint32_t from = keys + lane_offset_columns_first<Tile::kKeyStride>();
#pragma unroll
  for (int c = 0; c < Tile::kK / 16; ++c) {
    uint32_t a[4];
    queries.fragment(a, c);
#pragma unroll
    for (int n = 0; n < kN; n += 2) {
      uint32_t b[4];
      device::load_matrix_x4(b, from + 2 * (n * 8 * Tile::kKeyStride + 16 * c));
      device::mma_bf16(sums[c % kChains][n], a, {b[0], b[1]});
      device::mma_bf16(sums[c % kChains][n + 1], a, {b[2], b[3]});
    }
  }
#pragma unroll
  for (int n = 0; n < kN; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      scores[n][i] = sums[0][n][i];
      if constexpr (kChains == 2) scores[n][i] += sums[1][n][i];
    }
  }
}

// Keys that a lane's two rows (lane / 4 and 8 further) see: [begin, end).
struct Sight {
  int32_t begin[2];
  int32_t end[2];
};

// `row`: the warp's first, in the unit.
__device__ __forceinline__ Sight sight_of(const AttentionArgs& p, const AttentionUnit& unit,
                                          int row) {
  Sight out;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int i = row + static_cast<int>(threadIdx.x) % 32 / 4 + 8 * r;
    const int position = unit.position + (unit.first + i) / p.group;
    const bool there = i < unit.num_rows;
    out.end[r] = there ? position + 1 : 0;
    out.begin[r] = there && p.window > 0 ? max(0, position - p.window + 1) : 0;
  }
  return out;
}

template <int kN>
__device__ __forceinline__ void mask(float (&scores)[kN][4], const Sight& sight, int first_key) {
  const int column = first_key + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int n = 0; n < kN; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = column + 8 * n + i % 2;
      const bool seen = key >= sight.begin[i / 2] && key < sight.end[i / 2];
      scores[n][i] = seen ? scores[n][i] : kNever;
    }
  }
}

__device__ __forceinline__ float exp2_fast(float x) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}

// A maximum that may be subtracted: of a row that has seen nothing all terms become zeros.
__device__ __forceinline__ float finite(float maximum) { return maximum == kNever ? 0.f : maximum; }

// Online softmax of a lane's two rows. Maxima of scale * score * log2(e), equal in a row's four
// lanes; totals of the lane's own keys.
template <typename Tile>
struct RowSums {
  float maximum[2] = {kNever, kNever};
  float total[2] = {0, 0};
  float values[Tile::kV / 8][4] = {};

  // Makes the scores weights, and what was summed before fit them.
  template <int kN>
  __device__ __forceinline__ void weigh(float (&scores)[kN][4], float scale_log2) {
    float keep[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float largest = kNever;
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        largest = fmaxf(largest, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
      }
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
      const float now = fmaxf(maximum[r], largest * scale_log2);
      const float base = finite(now);
      keep[r] = exp2_fast(maximum[r] - base);
      maximum[r] = now;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < kN; ++n) {
#pragma unroll
        for (int i = 2 * r; i < 2 * r + 2; ++i) {
          scores[n][i] = exp2_fast(fmaf(scores[n][i], scale_log2, -base));
          sum += scores[n][i];
        }
      }
      total[r] = total[r] * keep[r] + sum;
    }
    // Most blocks of keys hold no new maximum.
    if (!__any_sync(kAllLanes, keep[0] != 1.0f || keep[1] != 1.0f)) return;
#pragma unroll
    for (int n = 0; n < Tile::kV / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) values[n][i] *= keep[i / 2];
    }
  }

  // values += weights v, for the 8 kN keys from `rows` on (an address in shared memory).
  template <int kN>
  __device__ __forceinline__ void add(const float (&weights)[kN][4], uint32_t rows) {
    const uint32_t from = rows + lane_offset_rows_first<Tile::kValueStride>();
#pragma unroll
    for (int t = 0; t < kN / 2; ++t) {
      const float(&low)[4] = weights[2 * t];
      const float(&high)[4] = weights[2 * t + 1];
      const uint32_t a[4] = {device::pack_bf16(low[0], low[1]), device::pack_bf16(low[2], low[3]),
                             device::pack_bf16(high[0], high[1]),
                             device::pack_bf16(high[2], high[3])};
#pragma unroll
      for (int n = 0; n < Tile::kV / 8; n += 2) {
        uint32_t b[4];
        device::load_matrix_x4_transposed(b, from + 2 * (t * 16 * Tile::kValueStride + n * 8));
        device::mma_bf16(values[n], a, {b[0], b[1]});
        device::mma_bf16(values[n + 1], a, {b[2], b[3]});
      }
    }
  }

  // The totals of whole rows, in all of their lanes.
  __device__ __forceinline__ void add_lanes() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      total[r] += __shfl_xor_sync(kAllLanes, total[r], 1);
      total[r] += __shfl_xor_sync(kAllLanes, total[r], 2);
    }
  }
};

}  // namespace mimo::kernels::cuda
