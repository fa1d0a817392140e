#pragma once

#include "kernels/cuda/attention/attention_tile.cuh"
#include "kernels/device/pdl.cuh"

// Runs of many rows: a block takes 128 packed rows of a kv head and all keys that they see. The
// last rows of a run, which see the most, come first.
namespace mimo::kernels::cuda {

struct PromptTile {
  int32_t run;  // -1: there is no such tile
  int32_t tile;
};

__device__ __forceinline__ int32_t num_prompt_tiles(const AttentionArgs& p, int run) {
  if (run >= p.num_runs) return 0;
  const int rows = p.row_begin[run + 1] - p.row_begin[run];
  return rows <= kDecodeRowsMax ? 0 : (rows * p.group + kPromptTileRows - 1) / kPromptTileRows;
}

// Tile number `index` of all runs' tiles. Called by the whole block.
template <typename Tile>
__device__ PromptTile find_tile(const AttentionArgs& p, int index) {
  __shared__ int32_t warp_tiles[Tile::kWarps];
  __shared__ PromptTile found;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (threadIdx.x == 0) found = {-1, 0};
  int before = 0;
  for (int first_run = 0; first_run < p.num_runs && before <= index; first_run += Tile::kThreads) {
    const int run = first_run + static_cast<int>(threadIdx.x);
    const int num = num_prompt_tiles(p, run);
    int through = num;  // tiles of this warp's runs up to this one
    for (int o = 1; o < 32; o *= 2) {
      const int more = __shfl_up_sync(kAllLanes, through, o);
      if (lane >= o) through += more;
    }
    if (lane == 31) warp_tiles[warp] = through;
    __syncthreads();
    int begin = before + through - num;
    for (int w = 0; w < Tile::kWarps; ++w) {
      if (w < warp) begin += warp_tiles[w];
      before += warp_tiles[w];
    }
    if (index >= begin && index < begin + num) found = {run, num - 1 - (index - begin)};
    __syncthreads();
  }
  return found;
}

template <typename Tile>
__device__ __forceinline__ void attend_block(const AttentionArgs& p, const AttentionUnit& unit,
                                             const Queries<Tile>& queries, const Sight& sight,
                                             const Sight& all, int first_key, uint32_t keys,
                                             RowSums<Tile>& sums) {
  if (first_key >= all.end[1] || first_key + kKeyBlock <= all.begin[0]) return;
  float scores[kKeyBlock / 8][4];
  score<Tile, kKeyBlock / 8, 1>(scores, queries, keys);
  const bool edge = first_key < all.begin[1] || first_key + kKeyBlock > all.end[0];
  if (edge) mask(scores, sight, first_key);
  sums.weigh(scores, p.scale_log2);
  sums.add(scores, keys + Tile::kKeyBytes);
}

// What the first ([0]) and the last ([1]) of the warp's rows see; nothing where it has no rows.
__device__ __forceinline__ Sight warp_sight(const AttentionArgs& p, const AttentionUnit& unit,
                                            int row) {
  Sight out = {{0, 0}, {0, 0}};
  const int last = min(row + 15, unit.num_rows - 1);
  if (row > last) return out;
  const int rows[2] = {row, last};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int position = unit.position + (unit.first + rows[i]) / p.group;
    out.end[i] = position + 1;
    out.begin[i] = p.window > 0 ? max(0, position - p.window + 1) : 0;
  }
  return out;
}

// Divides by the totals and writes the warp's rows, by way of where its queries were.
template <typename Tile>
__device__ void write_rows(const AttentionArgs& p, const AttentionUnit& unit, int first_row,
                           const RowSums<Tile>& sums, uint8_t* staging) {
  const int lane = threadIdx.x % 32;
  __syncwarp();
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = lane / 4 + 8 * r;
    const float sink = sink_of(p, unit, first_row + row);
    const float base = finite(fmaxf(sums.maximum[r], sink));
    const float weight = exp2_fast(sums.maximum[r] - base);
    const float total = sums.total[r] * weight + exp2_fast(sink - base);
    const float factor = total > 0 ? weight / total : 0.f;
#pragma unroll
    for (int n = 0; n < Tile::kV / 8; ++n) {
      *reinterpret_cast<uint32_t*>(staging + 2 * (row * Tile::kKeyStride + 8 * n + lane % 4 * 2)) =
          device::pack_bf16(sums.values[n][2 * r] * factor, sums.values[n][2 * r + 1] * factor);
    }
  }
  __syncwarp();
  const int parts = p.v_dim / 8;
  const int num_rows = min(16, unit.num_rows - first_row);
  for (int i = lane; i < num_rows * parts; i += 32) {
    const int row = i / parts;
    const int column = (i - row * parts) * 8;
    *reinterpret_cast<uint4*>(p.out + row_of(p, unit, first_row + row) * p.v_dim + column) =
        *reinterpret_cast<const uint4*>(staging + 2 * (row * Tile::kKeyStride + column));
  }
}

// --- Kernel: grid (prompt_tiles_max(), kv_heads) ------------------------------------------------
template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads)
    attention_prompt_kernel(const __grid_constant__ AttentionArgs p) {
  static_assert(Tile::kRows == kPromptTileRows && Tile::kWarps * 16 == Tile::kRows,
                "a warp keeps 16 rows");
  static_assert(Tile::kStages == 2, "a stage is copied while the other is read");
  extern __shared__ __align__(128) uint8_t attention_shared[];
  device::let_next_start();
  device::wait_for_inputs();

  const PromptTile at = find_tile<Tile>(p, static_cast<int>(blockIdx.x));
  if (at.run < 0) return;
  const AttentionUnit unit =
      unit_at(p, at.run, static_cast<int>(blockIdx.y), at.tile * kPromptTileRows, kPromptTileRows);
  if (unit.key_end <= 0) return write_zeros<Tile>(p, unit);

  const uint32_t queries_at = shared_address(attention_shared);
  const uint32_t ring = queries_at + Tile::kQueryBytes;
  const int block_begin = unit.key_begin / kKeyBlock;
  const int block_end = (unit.key_end + kKeyBlock - 1) / kKeyBlock;
  copy_queries<Tile>(p, unit, Tile::kRows, queries_at);
  copy_keys<Tile>(p, unit, block_begin, page_rows_of(p, unit, block_begin), ring);
  copy_async_commit();
  uint32_t next_rows = page_rows_of(p, unit, block_begin + 1);

  const int first_row = static_cast<int>(threadIdx.x) / 32 * 16;
  const int query_bytes = 2 * first_row * Tile::kKeyStride;
  const Sight sight = sight_of(p, unit, first_row);
  const Sight all = warp_sight(p, unit, first_row);
  Queries<Tile> queries;
  RowSums<Tile> sums;
  for (int block = block_begin; block < block_end; ++block) {
    copy_async_wait<0>();
    __syncthreads();
    if (block == block_begin) queries.load(queries_at + query_bytes);
    const int stage = (block - block_begin) % 2;
    if (block + 1 < block_end) {
      copy_keys<Tile>(p, unit, block + 1, next_rows, ring + (1 - stage) * Tile::kStageBytes);
      copy_async_commit();
      next_rows = page_rows_of(p, unit, block + 2);
    }
    attend_block<Tile>(p, unit, queries, sight, all, block * kKeyBlock,
                       ring + stage * Tile::kStageBytes, sums);
  }
  sums.add_lanes();
  if (first_row < unit.num_rows) {
    write_rows(p, unit, first_row, sums, attention_shared + query_bytes);
  }
}

}  // namespace mimo::kernels::cuda
