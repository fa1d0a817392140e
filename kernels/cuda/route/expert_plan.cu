#include "kernels/cuda/route/expert_plan.h"

#include <cooperative_groups.h>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/route/plan_block.cuh"
#include "kernels/device/pdl.cuh"

namespace mimo::kernels::cuda {
namespace {

namespace cg = cooperative_groups;

// --- Tile: one cluster, one plan; each warp owns a range of pairs ----------------------------
constexpr int32_t kThreads = 1024;
constexpr int32_t kWarps = kThreads / 32;
constexpr int32_t kExpertsMax = kThreads;  // a thread an expert
constexpr int32_t kCluster = 8;            // blocks, where one would take long
constexpr int64_t kOneBlockPairs = 4096;   // four steps of 32 pairs a warp
constexpr int64_t kDefaultSharedBytes = 48 * 1024;

struct Shared {
  int32_t warp_rows[kWarps];
  int32_t warp_tiles[kWarps];
  int32_t num_tiles;
};

// In dynamic shared memory, each [num_experts]: no more than a few experts need.
struct Tables {
  int32_t* totals;      // this block's pairs
  int32_t* first_row;   // where this block's first pair goes
  int32_t* offsets;     // sorted rows before
  int32_t* ends;        // and up to the end
  int32_t* first_tile;  // tiles before
  int32_t* counts;      // [kWarps, num_experts] a warp's pairs, then those of the warps before
};
constexpr int32_t kTables = 5 + kWarps;

__device__ Tables tables_at(int32_t* memory, int32_t num_experts) {
  return {memory,
          memory + num_experts,
          memory + 2 * num_experts,
          memory + 3 * num_experts,
          memory + 4 * num_experts,
          memory + 5 * num_experts};
}

// --- Steps -----------------------------------------------------------------------------------
// The held expert of pair i, 0 = the first held; num_experts: none of ours.
__device__ int32_t held_expert(const ExpertPlanParams& p, int64_t i, int64_t end) {
  if (i >= end) return p.num_experts;
  const int64_t expert = int64_t{p.expert_ids[i]} - p.first_expert;
  return expert >= 0 && expert < p.num_experts ? static_cast<int32_t>(expert) : p.num_experts;
}

// counts[e] += the pairs of [begin, end) that expert e serves. One warp.
__device__ void count_pairs(const ExpertPlanParams& p, int64_t begin, int64_t end,
                            int32_t* counts) {
  const uint32_t lane = threadIdx.x % 32;
  for (int64_t base = begin; base < end; base += 32) {
    const int32_t expert = held_expert(p, base + lane, end);
    const uint32_t peers = __match_any_sync(~0u, expert);
    const bool leads = (peers & ((1u << lane) - 1)) == 0;
    if (leads && expert < p.num_experts) counts[expert] += __popc(peers);
    __syncwarp();
  }
}

// Each pair of [begin, end) to its sorted row; before[e] pairs of expert e lie in this block ahead
// of this warp's next one. One warp.
__device__ void place_pairs(const ExpertPlanParams& p, int64_t begin, int64_t end,
                            const int32_t* first_row, int32_t* before) {
  const uint32_t lane = threadIdx.x % 32;
  for (int64_t base = begin; base < end; base += 32) {
    const int64_t i = base + lane;
    const int32_t expert = held_expert(p, i, end);
    const uint32_t peers = __match_any_sync(~0u, expert);
    const uint32_t ahead = peers & ((1u << lane) - 1);
    const bool served = expert < p.num_experts;
    const int32_t row = served ? first_row[expert] + before[expert] + __popc(ahead) : -1;
    __syncwarp();
    if (served && ahead == 0) before[expert] += __popc(peers);
    __syncwarp();
    if (i < end) p.plan.row_of[i] = row;
    if (served) p.plan.pairs[row] = static_cast<int32_t>(i);
  }
}

__device__ int32_t warp_scan(int32_t value) {
  for (int32_t offset = 1; offset < 32; offset *= 2) {
    const int32_t below = __shfl_up_sync(~0u, value, offset);
    if (static_cast<int32_t>(threadIdx.x % 32) >= offset) value += below;
  }
  return value;
}

// From each expert's totals in all blocks: its first row and tile, and this block's first row. A
// thread an expert.
__device__ void place_experts(const ExpertPlanParams& p, const cg::cluster_group& cluster,
                              Shared& shared, const Tables& tables) {
  const auto expert = static_cast<int32_t>(threadIdx.x);
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t warp = threadIdx.x / 32;
  int32_t rows = 0;
  int32_t rows_ahead = 0;  // in the blocks before this one
  if (expert < p.num_experts) {
    for (uint32_t block = 0; block < cluster.num_blocks(); ++block) {
      const int32_t part = cluster.map_shared_rank(tables.totals, block)[expert];
      rows += part;
      rows_ahead += block < cluster.block_rank() ? part : 0;
    }
  }
  const int32_t tiles = (rows + p.tile_rows - 1) / p.tile_rows;
  int32_t rows_end = warp_scan(rows);
  int32_t tiles_end = warp_scan(tiles);
  if (lane == 31) {
    shared.warp_rows[warp] = rows_end;
    shared.warp_tiles[warp] = tiles_end;
  }
  __syncthreads();
  const int32_t rows_sum = warp_scan(shared.warp_rows[lane]);
  const int32_t tiles_sum = warp_scan(shared.warp_tiles[lane]);
  const int32_t rows_before = __shfl_sync(~0u, rows_sum, warp == 0 ? 0 : warp - 1);
  const int32_t tiles_before = __shfl_sync(~0u, tiles_sum, warp == 0 ? 0 : warp - 1);
  rows_end += warp == 0 ? 0 : rows_before;
  tiles_end += warp == 0 ? 0 : tiles_before;
  if (expert < p.num_experts) {
    tables.offsets[expert] = rows_end - rows;
    tables.ends[expert] = rows_end;
    tables.first_row[expert] = rows_end - rows + rows_ahead;
    tables.first_tile[expert] = tiles_end - tiles;
  }
  if (threadIdx.x == kThreads - 1) shared.num_tiles = tiles_end;
  __syncthreads();
}

// The cluster's threads write a tile each, and the first block the offsets.
__device__ void write_tiles(const ExpertPlanParams& p, const cg::cluster_group& cluster,
                            const Tables& tables, int32_t num_tiles) {
  const auto step = static_cast<int32_t>(cluster.num_blocks()) * kThreads;
  int32_t tile = static_cast<int32_t>(cluster.block_rank()) * kThreads;
  for (tile += static_cast<int32_t>(threadIdx.x); tile < num_tiles; tile += step) {
    // The last expert whose first tile is not past this one: those with no rows share the next
    // one's first tile, and lie before it.
    int32_t low = 0;
    int32_t high = p.num_experts;
    while (high - low > 1) {
      const int32_t middle = (low + high) / 2;
      (tables.first_tile[middle] <= tile ? low : high) = middle;
    }
    const int32_t row = tables.offsets[low] + (tile - tables.first_tile[low]) * p.tile_rows;
    p.plan.tiles[tile] = {low, row, min(p.tile_rows, tables.ends[low] - row), 0};
  }
  if (cluster.block_rank() != 0) return;
  const auto expert = static_cast<int32_t>(threadIdx.x);
  if (expert < p.num_experts) p.plan.offsets[expert] = tables.offsets[expert];
  if (expert == p.num_experts - 1) p.plan.offsets[p.num_experts] = tables.ends[expert];
  if (threadIdx.x == 0) *p.plan.num_tiles = num_tiles;
}

// --- Kernel: one cluster ---------------------------------------------------------------------
// A counting sort: pairs counted a warp and an expert, the counts summed over warps and blocks in
// the order of the pairs, then each pair placed.
// Dynamic shared memory: [kTables][num_experts].
__global__ void __launch_bounds__(kThreads)
    plan_kernel(const __grid_constant__ ExpertPlanParams p, int64_t pairs_a_warp) {
  __shared__ Shared shared;
  extern __shared__ int32_t memory[];
  const Tables tables = tables_at(memory, p.num_experts);
  int32_t* const counts = tables.counts;
  const cg::cluster_group cluster = cg::this_cluster();
  device::let_next_start();
  for (int32_t i = threadIdx.x; i < kWarps * p.num_experts; i += kThreads) counts[i] = 0;
  __syncthreads();
  device::wait_for_inputs();

  const int64_t num_pairs = int64_t{p.num_tokens} * p.experts_per_token;
  const int64_t warp = threadIdx.x / 32;
  const int64_t begin = (int64_t{cluster.block_rank()} * kWarps + warp) * pairs_a_warp;
  const int64_t end = min(begin + pairs_a_warp, num_pairs);
  int32_t* const own = counts + warp * p.num_experts;
  count_pairs(p, begin, end, own);
  __syncthreads();

  const auto expert = static_cast<int32_t>(threadIdx.x);
  if (expert < p.num_experts) {
    int32_t before = 0;
#pragma unroll 8
    for (int32_t w = 0; w < kWarps; ++w) {
      const int32_t count = counts[w * p.num_experts + expert];
      counts[w * p.num_experts + expert] = before;
      before += count;
    }
    tables.totals[expert] = before;
  }
  cluster.sync();
  place_experts(p, cluster, shared, tables);
  write_tiles(p, cluster, tables, shared.num_tiles);
  place_pairs(p, begin, end, tables.first_row, own);
  cluster.sync();  // no block leaves while another may read its totals
}

// --- Kernel: one block, few pairs -------------------------------------------------------------
constexpr int64_t kFewPairsMax = router::kPlanWordsMax * 32;
constexpr int64_t kFewBytes = router::plan_shared_bytes(kFewPairsMax, kFewPairsMax);

__global__ void __launch_bounds__(router::kPlanThreads)
    plan_few_kernel(const __grid_constant__ ExpertPlanParams p) {
  __shared__ __align__(16) uint8_t memory[kFewBytes];
  device::let_next_start();
  device::wait_for_inputs();
  router::plan_block<router::FewPairs>(p, router::ReadyIds{p.expert_ids}, 1, memory);
}

}  // namespace

void plan_experts(const ExpertPlanParams& p, cudaStream_t stream) {
  CHECK_GE(p.num_tokens, 0);
  CHECK_GT(p.experts_per_token, 0);
  CHECK_GT(p.num_experts, 0);
  CHECK_LE(p.num_experts, kExpertsMax);
  CHECK_GT(p.tile_rows, 0);
  const int64_t num_pairs = int64_t{p.num_tokens} * p.experts_per_token;
  CHECK_LT(num_pairs, int64_t{1} << 31);
  if (router::fits_plan_block(p, num_pairs)) {
    launch(plan_few_kernel, {dim3(1), dim3(router::kPlanThreads)}, stream, p);
    return;
  }
  const int32_t num_blocks = num_pairs <= kOneBlockPairs ? 1 : kCluster;
  const int64_t num_warps = int64_t{num_blocks} * kWarps;
  const int64_t pairs_a_warp = (num_pairs + num_warps * 32 - 1) / (num_warps * 32) * 32;
  const int64_t shared_bytes = int64_t{kTables} * p.num_experts * int64_t{sizeof(int32_t)};
  if (shared_bytes + int64_t{sizeof(Shared)} > kDefaultSharedBytes) {
    allow_shared(plan_kernel, shared_bytes);
  }
  launch(plan_kernel, {dim3(num_blocks), dim3(kThreads), shared_bytes, num_blocks}, stream, p,
         pairs_a_warp);
}

}  // namespace mimo::kernels::cuda
