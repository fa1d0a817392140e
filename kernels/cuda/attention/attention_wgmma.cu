#include "kernels/cuda/attention/attention_wgmma.h"

#include "kernels/cuda/attention/attention_prompt.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/tma.cuh"
#include "kernels/device/wgmma.cuh"

// Runs of many rows on SM90: a block takes 128 packed rows of a kv head, as in
// attention_prompt.cuh, 128 keys at a time. Warpgroup 0 brings keys and values; warpgroups 1 and 2
// keep 64 rows each: the scores of the next keys are under way while they weigh these.
namespace mimo::kernels::cuda::wgmma_prompt {

struct Tile {
  static constexpr int kK = 192;
  static constexpr int kV = 128;
  static constexpr int kRows = kPromptTileRows;
  static constexpr int kKeys = 128;
  static constexpr int kStages = 2;
  static constexpr int kWarps = 12;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kWorkers = 256;  // threads of warpgroups 1 and 2
  // Queries, keys, values: slabs of 64 columns, 128 rows of 128 bytes whose 16-byte chunk c lies at
  // place c ^ (row % 8).
  static constexpr int kSlabBytes = 128 * 128;
  static constexpr int kKeyBytes = kK / 64 * kSlabBytes;
  static constexpr int kValueBytes = kV / 64 * kSlabBytes;
};

struct Shared {
  uint8_t queries[Tile::kKeyBytes];
  uint8_t keys[Tile::kStages][Tile::kKeyBytes];
  uint8_t values[Tile::kStages][Tile::kValueBytes];
  uint64_t keys_full[Tile::kStages];
  uint64_t keys_empty[Tile::kStages];
  uint64_t values_full[Tile::kStages];
  uint64_t values_empty[Tile::kStages];
};
constexpr int kSharedBytes = sizeof(Shared) + 1024;

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int kWorkersBarrier = 1;
// Of a thread: 40 * 128 + 232 * 256 is what 384 threads of 168 start with.
constexpr int kBringerRegisters = 40;
constexpr int kWorkerRegisters = 232;

__device__ __forceinline__ void sync_workers() {
  asm volatile("bar.sync %0, %1;" ::"n"(kWorkersBarrier), "n"(Tile::kWorkers) : "memory");
}

// --- Bringing -----------------------------------------------------------------------------------
// One warp: whole boxes of the keys that some row sees.
__device__ void bring_keys(const AttentionArgs& p, const CUtensorMap& k_map,
                           const CUtensorMap& v_map, const AttentionUnit& unit, Shared& shared) {
  const int lane = threadIdx.x % 32;
  const int box = p.box_rows;
  const int last_page = (unit.key_end - 1) >> p.page_shift;
  int32_t page = 0;          // lane's, of 32 from first_page on
  int first_page = -1 - 32;  // none
  int number = 0;
  for (int first = unit.key_begin / Tile::kKeys * Tile::kKeys; first < unit.key_end;
       first += Tile::kKeys, ++number) {
    const int stage = number % Tile::kStages;
    const uint32_t parity = (number / Tile::kStages & 1) ^ 1;
    const int begin = max(first, unit.key_begin / box * box);
    const int end = min(first + Tile::kKeys, (unit.key_end + box - 1) / box * box);
    for (const bool values : {false, true}) {
      const CUtensorMap& map = values ? v_map : k_map;
      const int slabs = (values ? Tile::kV : Tile::kK) / 64;
      const uint32_t full = shared_address(values ? &shared.values_full[stage]  //
                                                  : &shared.keys_full[stage]);
      const uint32_t to = shared_address(values ? shared.values[stage] : shared.keys[stage]);
      device::wait_parity(
          shared_address(values ? &shared.values_empty[stage] : &shared.keys_empty[stage]), parity);
      if (lane == 0) device::arrive_expecting(full, (end - begin) * 128 * slabs);
      for (int key = begin; key < end; key += box) {
        const int at = key >> p.page_shift;
        if (at >= first_page + 32 || at < first_page) {
          first_page = at;
          page = at + lane <= last_page ? unit.table[(at + lane) % p.stride] : 0;
        }
        const int head_page =
            __shfl_sync(kAllLanes, page, at - first_page) * p.kv_heads + unit.head;
        const int row = (head_page << p.page_shift) + (key & ((1 << p.page_shift) - 1));
        if (lane != 0) continue;
        for (int c = 0; c < slabs; ++c) {
          device::load_box_2d(to + c * Tile::kSlabBytes + 128 * (key - first), map, 128 * c, row,
                              full);
        }
      }
    }
  }
}

// --- Working ------------------------------------------------------------------------------------
__device__ __forceinline__ uint32_t swizzled_at(int row, int chunk) {
  return chunk / 8 * Tile::kSlabBytes + 128 * row + 16 * (chunk % 8 ^ row % 8);
}

// The unit's queries; zeros where it has no rows or they no columns.
__device__ void copy_tile_queries(const AttentionArgs& p, const AttentionUnit& unit,
                                  Shared& shared) {
  const int thread = static_cast<int>(threadIdx.x) - (Tile::kThreads - Tile::kWorkers);
  const uint32_t to = shared_address(shared.queries);
  for (int row = thread / 8; row < Tile::kRows; row += Tile::kWorkers / 8) {
    const bool there = row < unit.num_rows;
    const uint16_t* const from = p.q + (there ? row_of(p, unit, row) * p.k_dim : 0);
    for (int chunk = thread % 8; chunk < Tile::kK / 8; chunk += 8) {
      const bool inside = there && 8 * chunk < p.k_dim;
      copy_async_16(to + swizzled_at(row, chunk), inside ? from + 8 * chunk : p.q, inside);
    }
  }
  copy_async_commit();
  copy_async_wait<0>();
  device::fence_shared_for_async();
  sync_workers();
}

// Values of keys that no row sees become zeros: they may be NaN, which a weight of zero would not
// silence. Called by all workers.
__device__ void clear_unseen(const AttentionUnit& unit, int first_key, uint8_t* values) {
  const int thread = static_cast<int>(threadIdx.x) - (Tile::kThreads - Tile::kWorkers);
  for (int i = thread; i < Tile::kKeys * Tile::kV / 8; i += Tile::kWorkers) {
    const int row = i % Tile::kKeys;
    const int key = first_key + row;
    if (key >= unit.key_begin && key < unit.key_end) continue;
    *reinterpret_cast<uint4*>(values + swizzled_at(row, i / Tile::kKeys)) = make_uint4(0, 0, 0, 0);
  }
  device::fence_shared_for_async();
  sync_workers();
}

// A warpgroup's 64 rows; lane by lane as in wgmma.cuh.
struct Rows {
  float scores[64];
  float sums[64] = {};
  uint32_t weights[32];  // bf16, fragments of 16 keys each
  float maximum[2] = {kNever, kNever};
  float total[2] = {0, 0};
};

__device__ __forceinline__ void start_scores(Rows& rows, uint32_t queries, uint32_t keys) {
  device::wgmma_begin();
#pragma unroll
  for (int c = 0; c < Tile::kK / 16; ++c) {
    const uint32_t at = c / 4 * Tile::kSlabBytes + c % 4 * 32;
    device::wgmma_bf16_64x128(rows.scores, device::operand_128b(queries + at),
                              device::operand_128b(keys + at), c > 0);
  }
  device::wgmma_commit();
}

__device__ __forceinline__ void start_sums(Rows& rows, uint32_t values) {
  device::wgmma_begin();
#pragma unroll
  for (int t = 0; t < Tile::kKeys / 16; ++t) {
    const uint32_t a[4] = {rows.weights[4 * t], rows.weights[4 * t + 1], rows.weights[4 * t + 2],
                           rows.weights[4 * t + 3]};
    device::wgmma_bf16_64x128_rows(rows.sums, a,
                                   device::operand_rows_128b(values + 2048 * t, Tile::kSlabBytes));
  }
  device::wgmma_commit();
}

__device__ __forceinline__ void mask_scores(Rows& rows, const Sight& sight, int first_key) {
  const int column = first_key + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    const int key = column + i / 4 * 8 + i % 2;
    const int r = i / 2 % 2;
    const bool seen = key >= sight.begin[r] && key < sight.end[r];
    rows.scores[i] = seen ? rows.scores[i] : kNever;
  }
}

// Makes the scores weights; keep: what the sums so far must be multiplied by.
__device__ __forceinline__ void weigh_scores(Rows& rows, float scale_log2, float (&keep)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float largest = kNever;
#pragma unroll
    for (int i = 2 * r; i < 64; i += 4) {
      largest = fmaxf(largest, fmaxf(rows.scores[i], rows.scores[i + 1]));
    }
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
    const float now = fmaxf(rows.maximum[r], largest * scale_log2);
    const float base = finite(now);
    keep[r] = exp2_fast(rows.maximum[r] - base);
    rows.maximum[r] = now;
    float sum = 0;
#pragma unroll
    for (int i = 2 * r; i < 64; i += 4) {
#pragma unroll
      for (int j = i; j < i + 2; ++j) {
        rows.scores[j] = exp2_fast(fmaf(rows.scores[j], scale_log2, -base));
        sum += rows.scores[j];
      }
    }
    rows.total[r] = rows.total[r] * keep[r] + sum;
  }
}

__device__ __forceinline__ void pack_weights(Rows& rows) {
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    rows.weights[i] = device::pack_bf16(rows.scores[2 * i], rows.scores[2 * i + 1]);
  }
}

__device__ __forceinline__ void arrive_warp(uint64_t& barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) device::arrive(shared_address(&barrier));
}

// The values of block `n` of the unit, once they are there. Called by all workers.
__device__ __forceinline__ uint32_t await_values(const AttentionUnit& unit, int n, Shared& shared) {
  const int stage = n % Tile::kStages;
  const int first_key = (unit.key_begin / Tile::kKeys + n) * Tile::kKeys;
  device::wait_parity(shared_address(&shared.values_full[stage]), n / Tile::kStages & 1);
  if (first_key < unit.key_begin || first_key + Tile::kKeys > unit.key_end) {
    clear_unseen(unit, first_key, shared.values[stage]);
  }
  return shared_address(shared.values[stage]);
}

__device__ __forceinline__ uint32_t await_keys(int n, Shared& shared) {
  const int stage = n % Tile::kStages;
  device::wait_parity(shared_address(&shared.keys_full[stage]), n / Tile::kStages & 1);
  return shared_address(shared.keys[stage]);
}

// All keys of the unit for the warpgroup's 64 rows from `first_row` on.
__device__ __forceinline__ void attend(const AttentionArgs& p, const AttentionUnit& unit,
                                       int first_row, Shared& shared, Rows& rows) {
  const uint32_t queries = shared_address(shared.queries) + 128 * first_row;
  const Sight sight = sight_of(p, unit, first_row + static_cast<int>(threadIdx.x) / 32 % 4 * 16);
  // Every row of the unit sees the keys between.
  const int all_end = unit.position + unit.first / p.group + 1;
  const int all_begin = p.window > 0 ? max(0, unit.key_end - p.window) : 0;
  int first_key = unit.key_begin / Tile::kKeys * Tile::kKeys;
  const int num = (unit.key_end - first_key + Tile::kKeys - 1) / Tile::kKeys;
  float keep[2];

  start_scores(rows, queries, await_keys(0, shared));
  device::wgmma_wait<0>();
  device::hold(rows.scores);
  arrive_warp(shared.keys_empty[0]);
  if (first_key < all_begin || first_key + Tile::kKeys > all_end) {
    mask_scores(rows, sight, first_key);
  }
  weigh_scores(rows, p.scale_log2, keep);
  pack_weights(rows);
  for (int n = 1; n < num; ++n) {
    first_key += Tile::kKeys;
    const uint32_t keys = await_keys(n, shared);
    const uint32_t values = await_values(unit, n - 1, shared);
    start_scores(rows, queries, keys);
    start_sums(rows, values);
    device::wgmma_wait<1>();
    device::hold(rows.scores);
    arrive_warp(shared.keys_empty[n % Tile::kStages]);
    if (first_key < all_begin || first_key + Tile::kKeys > all_end) {
      mask_scores(rows, sight, first_key);
    }
    weigh_scores(rows, p.scale_log2, keep);
    device::wgmma_wait<0>();
    device::hold(rows.sums);
    device::hold(rows.weights);
    arrive_warp(shared.values_empty[(n - 1) % Tile::kStages]);
#pragma unroll
    for (int i = 0; i < 64; ++i) rows.sums[i] *= keep[i / 2 % 2];
    pack_weights(rows);
  }
  start_sums(rows, await_values(unit, num - 1, shared));
  device::wgmma_wait<0>();
  device::hold(rows.sums);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    rows.total[r] += __shfl_xor_sync(kAllLanes, rows.total[r], 1);
    rows.total[r] += __shfl_xor_sync(kAllLanes, rows.total[r], 2);
  }
}

// Divides by the totals and writes the warp's 16 rows, by way of where its queries were.
__device__ __forceinline__ void write_tile_rows(const AttentionArgs& p, const AttentionUnit& unit,
                                                int first_row, const Rows& rows, Shared& shared) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + lane / 4 + 8 * r;
    const float sink = sink_of(p, unit, row);
    const float base = finite(fmaxf(rows.maximum[r], sink));
    const float weight = exp2_fast(rows.maximum[r] - base);
    const float total = rows.total[r] * weight + exp2_fast(sink - base);
    const float factor = total > 0 ? weight / total : 0.f;
#pragma unroll
    for (int n = 0; n < Tile::kV / 8; ++n) {
      *reinterpret_cast<uint32_t*>(shared.queries + swizzled_at(row, n) + lane % 4 * 4) =
          device::pack_bf16(rows.sums[4 * n + 2 * r] * factor,
                            rows.sums[4 * n + 2 * r + 1] * factor);
    }
  }
  __syncwarp();
  const int parts = p.v_dim / 8;
  const int num_rows = min(16, unit.num_rows - first_row);
  for (int i = lane; i < num_rows * parts; i += 32) {
    const int row = i / parts;
    const int part = i - row * parts;
    *reinterpret_cast<uint4*>(p.out + row_of(p, unit, first_row + row) * p.v_dim + part * 8) =
        *reinterpret_cast<const uint4*>(shared.queries + swizzled_at(first_row + row, part));
  }
}

#endif

// --- Kernel: grid (prompt_tiles_max(), kv_heads) ------------------------------------------------
__global__ void __launch_bounds__(Tile::kThreads, 1)
    attention_wgmma_kernel(const __grid_constant__ AttentionArgs p,
                           const __grid_constant__ CUtensorMap k_map,
                           const __grid_constant__ CUtensorMap v_map) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t wgmma_shared[];
  device::let_next_start();
  const uint32_t start = shared_address(wgmma_shared);
  auto& shared = *reinterpret_cast<Shared*>(wgmma_shared + ((start + 1023) & ~1023u) - start);
  if (threadIdx.x == 0) {
    for (int s = 0; s < Tile::kStages; ++s) {
      device::init_barrier(shared_address(&shared.keys_full[s]), 1);
      device::init_barrier(shared_address(&shared.keys_empty[s]), Tile::kWorkers / 32);
      device::init_barrier(shared_address(&shared.values_full[s]), 1);
      device::init_barrier(shared_address(&shared.values_empty[s]), Tile::kWorkers / 32);
    }
    device::fence_barriers();
    device::prefetch_map(k_map);
    device::prefetch_map(v_map);
  }
  device::wait_for_inputs();
  __syncthreads();

  const PromptTile at = find_tile<Tile>(p, static_cast<int>(blockIdx.x));
  if (at.run < 0) return;
  const AttentionUnit unit =
      unit_at(p, at.run, static_cast<int>(blockIdx.y), at.tile * kPromptTileRows, kPromptTileRows);
  if (unit.key_end <= 0) return write_zeros<Tile>(p, unit);
  const int warpgroup = static_cast<int>(threadIdx.x) / 128;
  if (warpgroup == 0) {
    device::give_registers<kBringerRegisters>();
    if (threadIdx.x < 32) bring_keys(p, k_map, v_map, unit, shared);
  } else {
    device::take_registers<kWorkerRegisters>();
    copy_tile_queries(p, unit, shared);
    const int first_row = 64 * (warpgroup - 1);
    Rows rows;
    attend(p, unit, first_row, shared, rows);
    // The other warps of the group may still read what this one writes over.
    sync_workers();
    const int warp_row = first_row + static_cast<int>(threadIdx.x) / 32 % 4 * 16;
    if (warp_row < unit.num_rows) write_tile_rows(p, unit, warp_row, rows, shared);
  }
#endif
}

}  // namespace mimo::kernels::cuda::wgmma_prompt

namespace mimo::kernels::cuda {

using wgmma_prompt::attention_wgmma_kernel;
using wgmma_prompt::kSharedBytes;

int64_t wgmma_prompt_shared_bytes() { return kSharedBytes; }

void allow_wgmma_prompt() { allow_shared(attention_wgmma_kernel, kSharedBytes); }

void launch_wgmma_prompt(const AttentionArgs& p, const CUtensorMap& k_map, const CUtensorMap& v_map,
                         dim3 grid, cudaStream_t stream) {
  launch(attention_wgmma_kernel, {grid, dim3(wgmma_prompt::Tile::kThreads), kSharedBytes}, stream,
         p, k_map, v_map);
}

}  // namespace mimo::kernels::cuda
