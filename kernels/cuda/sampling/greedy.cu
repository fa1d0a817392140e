#include "kernels/cuda/sampling/greedy.h"

#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/device/pdl.cuh"

namespace mimo::kernels::cuda {
namespace {

constexpr int32_t kThreads = 256;
constexpr int32_t kColsMin = 2048;  // a block, so that a thread has two loads in flight

// What a thread has seen of its row; ids come in ascending order.
struct Best {
  float x = 0;
  int32_t id = -1;  // -1: nothing yet
  bool bad = false;
};

__device__ __forceinline__ void look(Best& best, float x, int32_t id) {
  const bool better = best.id < 0 || x > best.x;
  best.x = better ? x : best.x;
  best.id = better ? id : best.id;
  best.bad = best.bad || (__float_as_uint(x) & 0x7f800000u) == 0x7f800000u;
}

// Orders by value, equal ones by the lower id; 0: nothing; all ones: not finite.
__device__ __forceinline__ unsigned long long packed(const Best& best) {
  if (best.bad) return ~0ull;
  if (best.id < 0) return 0;
  const uint32_t bits = __float_as_uint(best.x + 0.0f);
  const uint32_t key =
      bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
  return static_cast<unsigned long long>(key) << 32 | ~static_cast<uint32_t>(best.id);
}

// The greatest of the block, in thread 0.
__device__ __forceinline__ unsigned long long block_greatest(unsigned long long value) {
  __shared__ unsigned long long warps[kThreads / 32];
#pragma unroll
  for (int32_t offset = 16; offset > 0; offset /= 2) {
    value = max(value, __shfl_xor_sync(~0u, value, offset));
  }
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
#pragma unroll
  for (int32_t w = 0; w < kThreads / 32; ++w) value = max(value, warps[w]);
  return value;
}

struct GreedyShape {
  int32_t blocks_a_shard = 1;
  int32_t cols_a_block = 0;  // a multiple of four
};

// Grid [num_shards * blocks_a_shard, N].
__global__ void __launch_bounds__(kThreads)
    greedy_kernel(const __grid_constant__ SampleParams p, const __grid_constant__ SlotTable table,
                  GreedyCells cells, GreedyShape shape) {
  device::let_next_start();
  device::wait_for_inputs();
  const auto n = static_cast<int32_t>(blockIdx.y);
  const int32_t slot = p.slots[n];
  if (slot < 0) return;
  const auto shard = static_cast<int32_t>(blockIdx.x) / shape.blocks_a_shard;
  const int32_t begin =
      static_cast<int32_t>(blockIdx.x) % shape.blocks_a_shard * shape.cols_a_block;
  const int32_t first_id = shard * p.shard_cols;
  const int32_t end = min(min(begin + shape.cols_a_block, p.shard_cols), p.vocab_limit - first_id);
  const float* const from = p.logits + (int64_t{shard} * p.num_rows + p.rows[n]) * p.shard_cols;
  const auto tid = static_cast<int32_t>(threadIdx.x);
  Best best;
  int32_t done = begin;
  if (reinterpret_cast<uint64_t>(from) % sizeof(float4) == 0 && end > begin) {
    done = begin + (end - begin) / 4 * 4;
#pragma unroll 4
    for (int32_t col = begin + tid * 4; col < done; col += kThreads * 4) {
      const float4 x = *reinterpret_cast<const float4*>(from + col);
      look(best, x.x, first_id + col);
      look(best, x.y, first_id + col + 1);
      look(best, x.z, first_id + col + 2);
      look(best, x.w, first_id + col + 3);
    }
  }
  for (int32_t col = done + tid; col < end; col += kThreads) look(best, from[col], first_id + col);

  const unsigned long long block_best = block_greatest(packed(best));
  if (tid != 0) return;
  atomicMax(&cells.best[n], block_best);
  __threadfence();
  if (atomicAdd(&cells.arrived[n], 1u) != gridDim.x - 1) return;
  __threadfence();
  const unsigned long long row_best = atomicExch(&cells.best[n], 0ull);
  cells.arrived[n] = 0;
  DrawResult result{-1, 0, 0, 0};
  if (row_best != ~0ull) {
    result.id = static_cast<int32_t>(~static_cast<uint32_t>(row_best));
    result.finite = 1;
    count_drawn(table, slot, result.id);
  }
  p.results[n] = result;
  if (p.last_tokens != nullptr) p.last_tokens[slot] = result.id;
}

}  // namespace

void launch_greedy(const SampleParams& p, const SlotTable& table, const GreedyCells& cells,
                   int32_t num_sms, cudaStream_t stream) {
  // Four blocks a multiprocessor over all rows, but none with too little to read.
  const int32_t wanted = std::max(1, (4 * num_sms + p.num_draws - 1) / p.num_draws);
  const int32_t blocks_a_shard = std::clamp((wanted + p.num_shards - 1) / p.num_shards, 1,
                                            (p.shard_cols + kColsMin - 1) / kColsMin);
  const int32_t cols = (p.shard_cols + blocks_a_shard - 1) / blocks_a_shard;
  const GreedyShape shape{blocks_a_shard, (cols + 3) / 4 * 4};
  const dim3 grid(static_cast<unsigned>(p.num_shards * blocks_a_shard),
                  static_cast<unsigned>(p.num_draws));
  launch(greedy_kernel, {grid, dim3(kThreads)}, stream, p, table, cells, shape);
}

}  // namespace mimo::kernels::cuda
