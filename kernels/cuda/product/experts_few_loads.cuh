#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/cuda/product/cluster.cuh"
#include "kernels/cuda/product/experts_few_args.h"
#include "kernels/cuda/product/experts_few_pairs.cuh"
#include "kernels/cuda/product/instructions.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/tma.cuh"

// How the weights of the experts of few tokens come to shared memory: the ring, and the warp that
// keeps it filled.
namespace mimo::kernels::cuda::product {

constexpr int kFewMathWarps = 8;

// A stage is free when all math warps have left it.
struct FewRing {
  __device__ FewRing(const FewArgs& p, uint32_t shared)
      : stages(shared), barriers(shared + p.shape.barriers_at), count(p.shape.stages) {}
  __device__ __forceinline__ uint32_t stage() const { return stages + at * kFewStageBytes; }
  __device__ __forceinline__ uint32_t full() const { return barriers + at * 16; }
  __device__ __forceinline__ uint32_t empty() const { return full() + 8; }
  __device__ __forceinline__ void advance() {
    if (++at < count) return;
    at = 0;
    parity ^= 1;
  }

  uint32_t stages;
  uint32_t barriers;
  int32_t count;
  int32_t at = 0;
  uint32_t parity = 0;
};

__device__ __forceinline__ void init_barriers(const FewArgs& p, uint32_t shared) {
  FewRing ring(p, shared);
  for (int32_t s = 0; s < p.shape.stages; ++s) {
    device::init_barrier(ring.full(), 1);
    device::init_barrier(ring.empty(), kFewMathWarps);
    ring.advance();
  }
  device::fence_barriers();
}

// The units [begin, end) of gate_up that this block takes; unit u of a slot has gate rows
// [32 u, 32 u + 32).
struct FewUnits {
  int32_t begin;
  int32_t end;
};
__device__ __forceinline__ FewUnits units_of_block(const FewArgs& p, int32_t num_slots) {
  const int32_t count = num_slots * (p.columns / kFewGateRows);
  const auto block = static_cast<int32_t>(blockIdx.x);
  const auto blocks = static_cast<int32_t>(gridDim.x);
  return {block * count / blocks, (block + 1) * count / blocks};
}

// Until the stage is free and the one `ahead` before it has come: with more on their way some
// blocks would have all of down before others have gate_up, for which all of them wait.
__device__ __forceinline__ void begin_stage(const FewRing& ring, uint32_t bytes, int32_t ahead) {
  device::wait_parity(ring.empty(), ring.parity ^ 1);
  const bool wraps = ring.at < ahead;
  const int32_t before = ring.at - ahead + (wraps ? ring.count : 0);
  device::wait_parity(ring.barriers + before * 16, wraps ? ring.parity ^ 1 : ring.parity);
  device::arrive_expecting(ring.full(), bytes);
}

// Unit `unit` of an expert and column block `block` of either half of the columns.
__device__ __forceinline__ void load_gate_up(const FewArgs& p, FewRing& ring, int32_t expert,
                                             int32_t unit, int32_t block, uint64_t policy) {
  begin_stage(ring, kFewStageBytes, kFewAhead);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    load_box_5d(ring.stage() + half * kFewBlockBytes, p.gate_up_map,
                half * p.hidden / 2 + block * 128, unit * (kFewGateRows / 8), expert, ring.full(),
                policy);
  }
  ring.advance();
}

// This block's rows of one or two experts (second < 0: one), column blocks `block` and the next.
__device__ __forceinline__ void load_down(const FewArgs& p, FewRing& ring, int32_t first,
                                          int32_t second, int32_t block, int32_t ahead,
                                          uint64_t policy) {
  constexpr int32_t kBoxBytes = kFewBlockBytes / 2;
  begin_stage(ring, second < 0 ? kFewStageBytes / 2 : kFewStageBytes, ahead);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t to = ring.stage() + i * kFewBlockBytes;
    const int32_t column = (block + i) * 128;
    const auto group = static_cast<int32_t>(blockIdx.x * (kFewRows / 16));
    load_box_5d(to, p.down_map, column, group, first, ring.full(), policy);
    if (second < 0) continue;
    load_box_5d(to + kBoxBytes, p.down_map, column, group, second, ring.full(), policy);
  }
  ring.advance();
}

// One warp: all stages, in their order.
__device__ __forceinline__ void produce(const FewArgs& p, uint8_t* shared) {
  int32_t* const experts = tables_at(p, shared).asked;
  const Slots slots = find_slots(p);
  if (slots.leads) experts[slots.slot] = slots.expert;
  __syncwarp();
  if (threadIdx.x % 32 != 0) return;
  const uint64_t policy = evict_first_policy();
  FewRing ring(p, device::shared_address(shared));
  const FewUnits units = units_of_block(p, slots.count);
  const int32_t per_slot = p.columns / kFewGateRows;
  for (int32_t i = units.begin; i < units.end; ++i) {
    const int32_t slot = i / per_slot;
    for (int32_t block = 0; block < p.hidden / 256; ++block) {
      load_gate_up(p, ring, experts[slot], i - slot * per_slot, block, policy);
    }
  }
  int32_t sent = 0;
  for (int32_t slot = 0; slot < slots.count; slot += 2) {
    const int32_t second = slot + 1 < slots.count ? experts[slot + 1] : -1;
    for (int32_t block = 0; block < p.columns / 128; block += 2) {
      const int32_t ahead = sent++ < kFewFirst ? kFewAheadFirst : kFewAhead;
      load_down(p, ring, experts[slot], second, block, ahead, policy);
    }
  }
}

}  // namespace mimo::kernels::cuda::product
