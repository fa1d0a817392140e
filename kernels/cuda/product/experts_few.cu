#include "kernels/cuda/product/experts_few.h"

#include <cuda_bf16.h>

#include <cstdint>
#include <utility>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product/cluster.cuh"
#include "kernels/cuda/product/experts_few_args.h"
#include "kernels/cuda/product/experts_few_loads.cuh"
#include "kernels/cuda/product/experts_few_middle.cuh"
#include "kernels/cuda/product/experts_few_pairs.cuh"
#include "kernels/cuda/product/stream_outputs.cuh"
#include "kernels/cuda/product/wgmma_few.cuh"
#include "kernels/device/cp_async.cuh"
#include "kernels/device/fp8.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/reduce.cuh"
#include "kernels/device/wgmma.cuh"

// A stage is two blocks of 64 weight rows by 128 columns, as wgmma takes them. One thread keeps a
// ring of them filled: first the units of gate_up, 32 gate rows and the up rows that belong to them
// over all columns; then, without a break, the 32 rows of down that become this block's columns of
// the output, of two experts at a time. The stages of down are on their way while the blocks wait
// for one another's middle.
//
// The step's tokens are the columns of wgmma, whether the expert serves them or not. The two
// warpgroups take the halves of gate_up's columns; of down, every second two experts.
namespace mimo::kernels::cuda::product {
namespace {

constexpr int kMathWarps = kFewMathWarps;
constexpr int kMathThreads = kMathWarps * 32;
constexpr int kThreads = kMathThreads + 32;

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int kMathBarrier = 1;  // __syncthreads() is 0

// --- Products -----------------------------------------------------------------------------------

__device__ __forceinline__ int32_t own_half() { return static_cast<int32_t>(threadIdx.x / 128); }
// The same, of which the compiler knows that whole warps have it: for descriptors.
__device__ __forceinline__ int32_t uniform_half() { return __shfl_sync(~0u, own_half(), 0); }
__device__ __forceinline__ int32_t own_warp() {  // of the warpgroup
  return static_cast<int32_t>(threadIdx.x / 32 % 4);
}
// Where in a warp's sixteen rows and the tile's eight columns a thread's sums begin.
__device__ __forceinline__ int32_t own_row() { return static_cast<int32_t>(threadIdx.x % 32 / 4); }
__device__ __forceinline__ int32_t own_column() {
  return static_cast<int32_t>(threadIdx.x % 4 * 2);
}

// Begins sums = 64 weight rows by a tile over 128 columns.
__device__ __forceinline__ void begin_product(uint32_t weights, uint32_t tile, float (&sums)[4]) {
  device::hold(sums);
  device::wgmma_begin();
  const uint64_t a = device::operand_128b(weights);
  const uint64_t b = device::operand_128b(tile);
  constexpr int kStep = 32 >> 4;  // of a descriptor's address
#pragma unroll
  for (int k = 0; k < 4; ++k) wgmma_e4m3(sums, a + k * kStep, b + k * kStep, k > 0);
  device::wgmma_commit();
}
template <int kPending>
__device__ __forceinline__ void end_product(float (&sums)[4]) {
  device::wgmma_wait<kPending>();
  device::hold(sums);
}

// This warp needs the stage no more.
__device__ __forceinline__ void leave_stage(FewRing& ring) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) device::arrive(ring.empty());
  ring.advance();
}

__device__ __forceinline__ void add_scaled(const float (&sums)[4], float scale_a, float scale_b,
                                           float2 x, float (&total)[4]) {
  total[0] += sums[0] * (scale_a * x.x);
  total[1] += sums[1] * (scale_a * x.y);
  total[2] += sums[2] * (scale_b * x.x);
  total[3] += sums[3] * (scale_b * x.y);
}

// --- Between ------------------------------------------------------------------------------------

// All math threads, once their block's words are on their way.
__device__ __forceinline__ void meet_blocks(const FewArgs& p, unsigned long long wanted) {
  part_barrier(kMathBarrier, kMathThreads);
  if (threadIdx.x == 0) {
    atomicAdd(p.blocks, 1ull);
    while (count_blocks(p) < wanted) {
    }
  }
  part_barrier(kMathBarrier, kMathThreads);
}

// --- gate_up ------------------------------------------------------------------------------------

// The input, as wgmma takes it. Tokens that are not there keep what was there: they only spoil
// results of their own.
__device__ __forceinline__ void load_tokens(const FewArgs& p, uint8_t* shared) {
  const int32_t chunks = p.hidden / 16;
  const uint32_t to = device::shared_address(shared) + p.shape.tokens_at;
  for (int32_t i = threadIdx.x; i < p.num_tokens * chunks; i += kMathThreads) {
    const int32_t token = i / chunks;
    const int32_t chunk = i - token * chunks;
    device::copy_async_16(to + chunk / 8 * kFewTileBytes + token * 128 + (chunk % 8 ^ token) * 16,
                          p.x + int64_t{i} * 16);
  }
  device::copy_async_commit();
  float* const scales = shared_part<float>(shared, p.shape.token_scales_at);
  const int32_t blocks = p.hidden / 128;
  for (int32_t i = threadIdx.x; i < p.num_tokens * blocks; i += kMathThreads) {
    const int32_t token = i / blocks;
    scales[(i - token * blocks) * kFewTokensMax + token] = __ldcg(p.x_scales + i);
  }
}

// The scales of a unit's gate and up rows: lane i has those of block i of the warpgroup's half.
// They are asked for a unit ahead.
class UnitScales {
 public:
  __device__ __forceinline__ UnitScales(const FewArgs& p, const FewTables& tables, FewUnits units)
      : end_(units.end), next_(load(p, tables, units.begin)) {}
  // Before unit i, each in its turn.
  __device__ __forceinline__ void advance(const FewArgs& p, const FewTables& tables, int32_t i) {
    now_ = next_;
    next_ = load(p, tables, i + 1);
  }
  // Whole warps.
  __device__ __forceinline__ float gate(int32_t block) const {
    return __shfl_sync(~0u, now_.x, block);
  }
  __device__ __forceinline__ float up(int32_t block) const {
    return __shfl_sync(~0u, now_.y, block);
  }

 private:
  __device__ __forceinline__ float2 load(const FewArgs& p, const FewTables& tables,
                                         int32_t i) const {
    const int32_t blocks = p.hidden / 128;
    const int32_t block = min(static_cast<int32_t>(threadIdx.x % 32), blocks / 2 - 1);
    if (i >= end_) return {};
    const int32_t per_slot = p.columns / kFewGateRows;
    const int32_t slot = i / per_slot;
    const int32_t row =
        tables.expert[slot] * (2 * p.columns / 128) + (i - slot * per_slot) * kFewGateRows / 128;
    const float* const gate =
        p.gate_up_scales + int64_t{row} * blocks + own_half() * blocks / 2 + block;
    return make_float2(__ldg(gate), __ldg(gate + int64_t{p.columns / 128} * blocks));
  }

  int32_t end_;
  float2 now_ = {};
  float2 next_;
};

// A warpgroup's sums to [half][token][kFewPitch]: of each eight gate rows, then of their up rows.
__device__ __forceinline__ void put_sums(const FewArgs& p, float* parts, const float (&total)[4]) {
  const int32_t token = own_column();
  float* const at =
      parts + (own_half() * p.num_tokens + token) * kFewPitch + own_warp() * 16 + own_row();
  if (token < p.num_tokens) {
    at[0] = total[0];
    at[8] = total[2];
  }
  if (token + 1 < p.num_tokens) {
    at[kFewPitch] = total[1];
    at[kFewPitch + 8] = total[3];
  }
}

// silu(gate) * up of a unit's 32 columns, for the tokens that the expert serves: two a thread.
__device__ __forceinline__ void put_middle(const FewArgs& p, const FewTables& tables,
                                           uint32_t* middle, const float* parts, int32_t i) {
  const auto token = static_cast<int32_t>(threadIdx.x / 16);
  if (token >= p.num_tokens) return;
  const int32_t per_slot = p.columns / kFewGateRows;
  const int32_t slot = i / per_slot;
  const int32_t pair = tables.pair_at[slot * kFewTokensMax + token];
  if (pair < 0) return;
  const auto column = static_cast<int32_t>(threadIdx.x % 16 * 2);
  const float* const at = parts + token * kFewPitch + column / 8 * 16 + column % 8;
  const auto sum = [&](int32_t row) {
    const auto a = *reinterpret_cast<const float2*>(at + row);
    const auto b = *reinterpret_cast<const float2*>(at + row + p.num_tokens * kFewPitch);
    return make_float2(a.x + b.x, a.y + b.y);
  };
  const float2 gate = sum(0);
  const float2 up = sum(8);
  const int32_t word = ((i - slot * per_slot) * kFewGateRows + column) / 2;
  put_word(middle + pair * (p.columns / 2) + word,
           device::pack_bf16(silu_mul(gate.x, up.x), silu_mul(gate.y, up.y)));
}

__device__ __forceinline__ void multiply_gate_up(const FewArgs& p, const FewTables& tables,
                                                 uint32_t* middle, uint8_t* shared, FewRing& ring) {
  const FewUnits units = units_of_block(p, *tables.num_slots);
  const int32_t blocks = p.hidden / 256;  // of a half
  const int32_t half = uniform_half();
  const uint32_t tiles = ring.stages + p.shape.tokens_at + half * blocks * kFewTileBytes;
  const float* const token_scales = shared_part<float>(shared, p.shape.token_scales_at) +
                                    half * blocks * kFewTokensMax + own_column() % 4;
  UnitScales scales(p, tables, units);
  for (int32_t i = units.begin; i < units.end; ++i) {
    scales.advance(p, tables, i);
    float total[4] = {};
    for (int32_t block = 0; block < blocks; ++block) {
      const float2 x = *reinterpret_cast<const float2*>(token_scales + block * kFewTokensMax);
      float sums[4] = {};
      device::wait_parity(ring.full(), ring.parity);
      begin_product(ring.stage() + half * kFewBlockBytes, tiles + block * kFewTileBytes, sums);
      end_product<0>(sums);
      leave_stage(ring);
      add_scaled(sums, scales.gate(block), scales.up(block), x, total);
    }
    // With alternating buffers one barrier is enough: who writes a buffer again has passed the
    // barrier that its last readers came to after they had read.
    float* const parts = shared_part<float>(shared, p.shape.sums_at) +
                         (i - units.begin) % 2 * 2 * p.num_tokens * kFewPitch;
    put_sums(p, parts, total);
    part_barrier(kMathBarrier, kMathThreads);
    put_middle(p, tables, middle, parts, i);
  }
}

// --- down ---------------------------------------------------------------------------------------

// Sixteen columns of a row to a tile: e4m3, and the scale of the 128 that eight lanes have
// together. Whole warps.
__device__ __forceinline__ void put_quantised(const uint4 (&bits)[2], bool there, uint8_t* tile,
                                              float* scales, int32_t row) {
  const uint32_t words[8] = {bits[0].x, bits[0].y, bits[0].z, bits[0].w,
                             bits[1].x, bits[1].y, bits[1].z, bits[1].w};
  float x[16];
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    x[i] = __uint_as_float(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u);
    largest = fmaxf(largest, fabsf(x[i]));
  }
  const float scale = device::fp8_scale(device::lanes_max<8>(largest));
  const float inverse = __frcp_rn(scale);
  uint32_t out[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    out[i] = device::pack_e4m3(__fmul_rn(x[4 * i], inverse), __fmul_rn(x[4 * i + 1], inverse),
                               __fmul_rn(x[4 * i + 2], inverse), __fmul_rn(x[4 * i + 3], inverse));
  }
  if (!there) return;
  const auto chunk = static_cast<int32_t>(threadIdx.x % 8);
  *reinterpret_cast<uint4*>(tile + row * 128 + (chunk ^ row) * 16) =
      make_uint4(out[0], out[1], out[2], out[3]);
  if (chunk == 0) scales[row] = scale;
}

// The middle as e4m3, a scale for each pair and 128 columns, as wgmma takes it: in the tiles of two
// slots the tokens of the first are rows 0 to 3, those of the second 4 to 7. A warp takes every
// eighth pair, eight lanes 128 columns; all are asked for before the first is waited for.
__device__ __forceinline__ void quantise_middle(const FewArgs& p, const FewTables& tables,
                                                const uint32_t* middle, uint8_t* shared) {
  constexpr int kEach = kFewPairsMax / kMathWarps;
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const auto warp = static_cast<int32_t>(threadIdx.x / 32);
  const int32_t blocks = p.columns / 128;
  for (int32_t first = 0; first < blocks; first += 4) {
    const int32_t block = first + lane / 8;
    // Pairs that are none are not asked for.
    const auto there = [&](int32_t n) {
      const int32_t pair = warp + n * kMathWarps;
      return block < blocks && tables.like[pair] == pair;
    };
    const uint32_t* const from = middle + warp * (p.columns / 2) + block * 64 + lane % 8 * 8;
    uint4 bits[kEach][2] = {};
    const auto ask = [&](int32_t n) {
      bits[n][0] = peek_words(from + n * kMathWarps * (p.columns / 2));
      bits[n][1] = peek_words(from + n * kMathWarps * (p.columns / 2) + 4);
    };
#pragma unroll
    for (int n = 0; n < kEach; ++n) {
      if (there(n)) ask(n);
    }
#pragma unroll
    for (int n = 0; n < kEach; ++n) {
      if (n * kMathWarps >= p.num_pairs) break;
      while (there(n) && !(complete(bits[n][0]) && complete(bits[n][1]))) ask(n);
      const int32_t pair = warp + n * kMathWarps;
      const int32_t slot = max(tables.slot[pair], 0);
      const int32_t tile = slot / 2 * blocks + block;
      __syncwarp();
      put_quantised(bits[n], there(n), shared + p.shape.tokens_at + tile * kFewTileBytes,
                    shared_part<float>(shared, p.shape.middle_scales_at) + tile * 8,
                    slot % 2 * kFewTokensMax + pair / p.experts_per_token);
    }
  }
}

// The scales of this block's rows of the experts that a warp multiplies, in its order: lane i has
// the one of the (32 n + i)th column block.
class DownScales {
 public:
  __device__ __forceinline__ DownScales(const FewArgs& p, const FewTables& tables) {
    load(p, tables, 0);
  }
  // The next. Whole warps.
  __device__ __forceinline__ float take(const FewArgs& p, const FewTables& tables) {
    if (at_ > 0 && at_ % 32 == 0) load(p, tables, at_);
    return __shfl_sync(~0u, now_, at_++ % 32);
  }

 private:
  __device__ __forceinline__ void load(const FewArgs& p, const FewTables& tables, int32_t first) {
    const int32_t blocks = p.columns / 128;
    const int32_t i = first + static_cast<int32_t>(threadIdx.x % 32);
    const int32_t slot = (i / blocks * 2 + own_half()) * 2 + own_warp() / 2;
    const int32_t last = *tables.num_slots - 1;
    const int32_t expert = last < 0 ? 0 : tables.expert[min(slot, last)];
    const int32_t row =
        expert * (p.hidden / 128) + static_cast<int32_t>(blockIdx.x) * kFewRows / 128;
    // Here, not where it is needed.
    asm volatile("ld.global.nc.f32 %0, [%1];"
                 : "=f"(now_)
                 : "l"(p.down_scales + int64_t{row} * blocks + i % blocks));
  }

  int32_t at_ = 0;
  float now_;
};

// Of two slots, this block's rows by the tokens that they serve: [pair][kFewRows], bf16's values.
__device__ __forceinline__ void put_results(const FewArgs& p, const FewTables& tables,
                                            float* results, int32_t slots,
                                            const float (&total)[4]) {
  const int32_t slot = slots + own_warp() / 2;
  const int32_t token = own_column() - own_warp() / 2 * kFewTokensMax;
  if (slot >= *tables.num_slots) return;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (token + i < 0 || token + i >= p.num_tokens) continue;
    const int32_t pair = tables.pair_at[slot * kFewTokensMax + token + i];
    if (pair < 0) continue;
    float* const at = results + pair * kFewRows + own_warp() % 2 * 16 + own_row();
    at[0] = __bfloat162float(__float2bfloat16(total[i]));
    at[8] = __bfloat162float(__float2bfloat16(total[2 + i]));
  }
}

// total += this block's rows of two slots by their tokens over kStages stages' columns, all of them
// under way at once; `tile`: their first.
template <int kStages>
__device__ __forceinline__ void multiply_stages(const FewArgs& p, const FewTables& tables,
                                                FewRing& ring, uint32_t tiles,
                                                const float* x_scales, DownScales& scales,
                                                float (&total)[4]) {
  float sums[2 * kStages][4] = {};
  FewRing leaving = ring;
#pragma unroll
  for (int i = 0; i < kStages; ++i) {
    device::wait_parity(ring.full(), ring.parity);
    begin_product(ring.stage(), tiles + 2 * i * kFewTileBytes, sums[2 * i]);
    begin_product(ring.stage() + kFewBlockBytes, tiles + (2 * i + 1) * kFewTileBytes,
                  sums[2 * i + 1]);
    ring.advance();
  }
  const auto finish = [&]<int kBlock>(std::integral_constant<int, kBlock>) {
    end_product<2 * kStages - 1 - kBlock>(sums[kBlock]);
    if constexpr (kBlock % 2 == 1) leave_stage(leaving);
    const float2 x = *reinterpret_cast<const float2*>(x_scales + kBlock * 8);
    const float scale = scales.take(p, tables);
    add_scaled(sums[kBlock], scale, scale, x, total);
  };
  finish(std::integral_constant<int, 0>());
  finish(std::integral_constant<int, 1>());
  if constexpr (kStages > 1) finish(std::integral_constant<int, 2>());
  if constexpr (kStages > 1) finish(std::integral_constant<int, 3>());
}

__device__ __forceinline__ void multiply_down(const FewArgs& p, const FewTables& tables,
                                              uint8_t* shared, FewRing& ring, DownScales& scales) {
  const int32_t num_slots = *tables.num_slots;
  const int32_t blocks = p.columns / 128;
  const int32_t half = uniform_half();
  float* const results = shared_part<float>(shared, p.shape.sums_at);
  for (int32_t slot = 0; slot < num_slots; slot += 2) {
    if (slot / 2 % 2 != half) {
      for (int32_t block = 0; block < blocks; block += 2) {
        device::wait_parity(ring.full(), ring.parity);
        leave_stage(ring);
      }
      continue;
    }
    uint32_t tiles = ring.stages + p.shape.tokens_at + slot / 2 * blocks * kFewTileBytes;
    const float* x_scales =
        shared_part<float>(shared, p.shape.middle_scales_at) + slot / 2 * blocks * 8 + own_column();
    float total[4] = {};
    int32_t block = 0;
    for (; block + 4 <= blocks; block += 4) {
      multiply_stages<2>(p, tables, ring, tiles + block * kFewTileBytes, x_scales + block * 8,
                         scales, total);
    }
    if (block < blocks) {
      multiply_stages<1>(p, tables, ring, tiles + block * kFewTileBytes, x_scales + block * 8,
                         scales, total);
    }
    put_results(p, tables, results, slot, total);
  }
}

// The weighted sum of a token's results, in the order of its list.
__device__ __forceinline__ void combine_results(const FewArgs& p, const FewTables& tables,
                                                const float* results) {
  const auto token = static_cast<int32_t>(threadIdx.x / 32);
  const auto row = static_cast<int32_t>(threadIdx.x % 32);
  if (token >= p.num_tokens) return;
  float out = 0.0f;
  for (int32_t k = 0; k < p.experts_per_token; ++k) {
    const int32_t pair = token * p.experts_per_token + k;
    if (tables.like[pair] < 0) continue;
    out += tables.weight[pair] * results[tables.like[pair] * kFewRows + row];
  }
  p.out[int64_t{token} * p.hidden + blockIdx.x * kFewRows + row] = __float2bfloat16(out);
}

// Shared memory as wgmma reads it, for all math threads.
__device__ __forceinline__ void share_tiles() {
  device::fence_shared_for_async();
  part_barrier(kMathBarrier, kMathThreads);
}

__device__ __forceinline__ void compute(const FewArgs& p, uint8_t* shared) {
  const FewTables tables = tables_at(p, shared);
  const unsigned long long before = count_blocks(p);
  // The last warp has no scales to bring.
  if (threadIdx.x / 32 == kMathWarps - 1) fill_tables(p, tables);
  load_tokens(p, shared);
  const unsigned long long launch = before / gridDim.x;
  const auto turn = static_cast<int32_t>(launch % 2);
  uint32_t* const middle = p.middle + turn * kFewHalfWords;
  clear_half(p.middle + (1 - turn) * kFewHalfWords);
  device::copy_async_wait<0>();
  share_tiles();
  DownScales scales(p, tables);
  FewRing ring(p, device::shared_address(shared));
  multiply_gate_up(p, tables, middle, shared, ring);
  meet_blocks(p, (launch + 1) * gridDim.x);
  quantise_middle(p, tables, middle, shared);
  share_tiles();
  multiply_down(p, tables, shared, ring, scales);
  part_barrier(kMathBarrier, kMathThreads);
  combine_results(p, tables, shared_part<float>(shared, p.shape.sums_at));
}

#endif

// --- Kernel: grid [hidden / 32], all at once ----------------------------------------------------

__global__ void __launch_bounds__(kThreads, 1)
    experts_few_kernel(const __grid_constant__ FewArgs p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ uint8_t memory[];
  uint8_t* const shared = memory + (1024 - device::shared_address(memory) % 1024) % 1024;
  if (threadIdx.x == 0) {
    device::prefetch_map(p.gate_up_map);
    device::prefetch_map(p.down_map);
    init_barriers(p, device::shared_address(shared));
  }
  __syncthreads();
  device::wait_for_inputs();
  // Not before: the next kernel may count on everything before this one being done.
  device::let_next_start();
  if (threadIdx.x < kMathThreads) {
    compute(p, shared);
  } else {
    produce(p, shared);
  }
#endif
}

}  // namespace

// --- Launcher -----------------------------------------------------------------------------------

Result<ExpertsFew> ExpertsFew::create(DeviceContext& context, int32_t hidden) {
  ExpertsFew out(context, hidden);
  if (context.capability() != 90) return out;
  TRY_ASSIGN(out.maps_, TensorMaps::create());
  TRY_ASSIGN(out.blocks_, context.allocate_array<unsigned long long>(1, Purpose::kWorkspace));
  constexpr int64_t kWords = int64_t{kFewPairsMax} * kFewColumnsMax;
  TRY_ASSIGN(out.middle_, context.allocate_array<uint32_t>(kWords, Purpose::kWorkspace));
  CUDA_CHECK(cudaMemsetAsync(out.middle_, 0xff, kWords * sizeof(uint32_t), context.stream()));
  allow_shared(experts_few_kernel, context.shared_bytes_max());
  // An SM that has given all it can to one block needs no other partition for the next kernel's.
  CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(experts_few_kernel),
                                  cudaFuncAttributePreferredSharedMemoryCarveout,
                                  cudaSharedmemCarveoutMaxShared));
  return out;
}

ExpertsFewProblem ExpertsFew::problem(const ExpertsParams& p) const {
  const DeviceMatrix& gate_up = context_->stack(p.experts->gate_up);
  const DeviceMatrix& down = context_->stack(p.experts->down);
  return {.capability = context_->capability(),
          .num_sms = context_->num_sms(),
          .shared_bytes_max = context_->shared_bytes_max(),
          .gate_up_dtype = gate_up.dtype,
          .down_dtype = down.dtype,
          .hidden = gate_up.cols,
          .columns = down.cols,
          .gate_up_rows_per_scale = gate_up.rows_per_scale,
          .down_rows_per_scale = down.rows_per_scale,
          .num_tokens = p.num_tokens,
          .experts_per_token = p.experts_per_token,
          .quantised = p.x.q != nullptr};
}

const char* ExpertsFew::refusal(const ExpertsParams& p) const {
  const ExpertsFewProblem problem = this->problem(p);
  // The count of the blocks needs launches of one size.
  if (problem.hidden != hidden_) return "experts_few: made for another hidden width";
  return experts_few_refusal(problem);
}

const CUtensorMap& ExpertsFew::weight_map(const DeviceMatrix& w, bool gate_up) {
  const auto at = made_.find(w.values);
  if (at != made_.end()) {
    const DeviceMatrix& of = at->second.of;
    CHECK(of.count == w.count && of.rows == w.rows && of.cols == w.cols && of.ld == w.ld);
    return at->second.map;
  }
  const PairedRows view = {.pair_rows = gate_up ? w.rows / 2 : 8,
                           .group_rows = gate_up ? 8 : 16,
                           .groups = w.rows / 16,
                           .block_rows = w.rows,
                           .blocks = w.count,
                           .box_groups = gate_up ? kFewGateRows / 8 : kFewRows / 16,
                           .box_blocks = 1};
  return made_.emplace(w.values, Made{w, maps_->paired_rows(w, view)}).first->second.map;
}

void ExpertsFew::run(const ExpertsParams& p) {
  CHECK(refusal(p) == nullptr);
  const DeviceMatrix& gate_up = context_->stack(p.experts->gate_up);
  const DeviceMatrix& down = context_->stack(p.experts->down);
  CHECK_EQ(down.rows, gate_up.cols);
  FewArgs args;
  args.gate_up_map = weight_map(gate_up, true);
  args.down_map = weight_map(down, false);
  args.gate_up_scales = gate_up.scales;
  args.down_scales = down.scales;
  args.x = static_cast<const uint8_t*>(p.x.q);
  args.x_scales = p.x.q_scales;
  args.ids = p.expert_ids;
  args.weights = p.expert_weights;
  args.middle = middle_;
  args.out = static_cast<__nv_bfloat16*>(p.out);
  args.blocks = blocks_;
  args.num_tokens = p.num_tokens;
  args.experts_per_token = p.experts_per_token;
  args.num_pairs = p.num_tokens * p.experts_per_token;
  args.first_expert = p.experts->first;
  args.num_experts = gate_up.count;
  args.hidden = gate_up.cols;
  args.columns = down.cols;
  args.shape = experts_few_shape(problem(p));
  launch(experts_few_kernel,
         {.grid = dim3(static_cast<uint32_t>(args.shape.blocks)),
          .block = dim3(kThreads),
          .shared_bytes = args.shape.shared_bytes},
         context_->stream(), args);
}

}  // namespace mimo::kernels::cuda::product
