#include "kernels/cuda/product/experts_few.h"

#include <cuda_bf16.h>

#include <cstdint>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product/cluster.cuh"
#include "kernels/cuda/product/experts_few_args.h"
#include "kernels/cuda/product/experts_few_pairs.cuh"
#include "kernels/cuda/product/instructions.cuh"
#include "kernels/cuda/product/stream_outputs.cuh"
#include "kernels/device/cp_async.cuh"
#include "kernels/device/fp8.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/reduce.cuh"
#include "kernels/device/tma.cuh"

// A stage is 32 weight rows by 512 columns. One thread keeps a ring of them filled: first the units
// of gate_up, 16 gate rows and the up rows that belong to them over all columns; then, without a
// break, the 32 rows of down that become this block's columns of the output, expert by expert. The
// stages of down are on their way while the blocks wait for one another's middle.
//
// Eight warps multiply 16 rows by 128 columns of a stage each: e4m3 made f16, which is exact; the
// weights are the 16 rows of m16n8k16, the step's tokens its columns, whether the expert serves
// them or not.
namespace mimo::kernels::cuda::product {
namespace {

constexpr int kMathWarps = 8;
constexpr int kMathThreads = kMathWarps * 32;
constexpr int kThreads = kMathThreads + 32;
constexpr int kMathBarrier = 1;  // __syncthreads() is 0
static_assert(kMathWarps == 2 * kFewSlices, "two warps share 32 rows");

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

// --- Ring ---------------------------------------------------------------------------------------

struct Ring {
  __device__ Ring(const FewArgs& p, uint32_t shared)
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
  Ring ring(p, shared);
  for (int32_t s = 0; s < p.shape.stages; ++s) {
    device::init_barrier(ring.full(), 1);
    device::init_barrier(ring.empty(), kMathWarps);
    ring.advance();
  }
  device::fence_barriers();
}

// The units [begin, end) of gate_up that this block takes; unit u of a slot has gate rows
// [16 u, 16 u + 16).
struct Units {
  int32_t begin;
  int32_t end;
};
__device__ __forceinline__ Units units_of_block(const FewArgs& p, int32_t num_slots) {
  const int32_t count = num_slots * (p.columns / kFewGateRows);
  const auto block = static_cast<int32_t>(blockIdx.x);
  const auto blocks = static_cast<int32_t>(gridDim.x);
  return {block * count / blocks, (block + 1) * count / blocks};
}

// 32 rows by 512 columns as four boxes, and their scales: of the first 16 rows' block, then, where
// there is another, of the second's.
struct StageScales {
  const float* first;
  const float* second;
};
__device__ __forceinline__ void load_stage(const FewArgs& p, Ring& ring, const CUtensorMap& map,
                                           int32_t column, int32_t group, int32_t expert,
                                           StageScales scales, uint64_t policy) {
  constexpr int32_t kScaleBytes = kFewSlices * 4;
  const uint32_t scales_to = ring.stages + p.shape.stage_scales_at + ring.at * 2 * kScaleBytes;
  const int32_t scale_bytes = scales.second != nullptr ? 2 * kScaleBytes : kScaleBytes;
  device::wait_parity(ring.empty(), ring.parity ^ 1);
  device::arrive_expecting(ring.full(), kFewStageBytes + scale_bytes);
  device::load_bytes(scales_to, scales.first + column / 128, kScaleBytes, ring.full());
  if (scales.second != nullptr) {
    device::load_bytes(scales_to + kScaleBytes, scales.second + column / 128, kScaleBytes,
                       ring.full());
  }
#pragma unroll
  for (int slice = 0; slice < kFewSlices; ++slice) {
    load_box_5d(ring.stage() + slice * kFewBoxBytes, map, column + slice * 128, group, expert,
                ring.full(), policy);
  }
  ring.advance();
}

// One warp.
__device__ void produce(const FewArgs& p, uint8_t* shared) {
  const int32_t* const experts = tables_at(p, shared).expert;
  const Slots slots = find_slots(p);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (slots.leads[half]) {
      tables_at(p, shared).expert[slots.slot[half]] = slots.expert[half];
    }
  }
  __syncwarp();
  if (threadIdx.x % 32 != 0) return;
  const uint64_t policy = evict_first_policy();
  Ring ring(p, device::shared_address(shared));
  const Units units = units_of_block(p, slots.count);
  const int32_t per_slot = p.columns / kFewGateRows;
  for (int32_t i = units.begin; i < units.end; ++i) {
    const int32_t slot = i / per_slot;
    const int32_t unit = i - slot * per_slot;
    const int32_t scale_row = experts[slot] * (2 * p.columns / 128) + unit * kFewGateRows / 128;
    const float* const gate = p.gate_up_scales + int64_t{scale_row} * (p.hidden / 128);
    const StageScales scales = {gate, gate + int64_t{p.columns / 128} * (p.hidden / 128)};
    for (int32_t column = 0; column < p.hidden; column += kFewColumns) {
      load_stage(p, ring, p.gate_up_map, column, unit * 2, experts[slot], scales, policy);
    }
  }
  for (int32_t slot = 0; slot < slots.count; ++slot) {
    const auto block = static_cast<int32_t>(blockIdx.x);
    const int32_t scale_row = experts[slot] * (p.hidden / 128) + block * kFewRows / 128;
    const StageScales scales = {p.down_scales + int64_t{scale_row} * (p.columns / 128), nullptr};
    for (int32_t column = 0; column < p.columns; column += kFewColumns) {
      load_stage(p, ring, p.down_map, column, block * 2, experts[slot], scales, policy);
    }
  }
}

// --- Products -----------------------------------------------------------------------------------

// The 32 bytes of lane (g, t) in row g of eight with the 128-byte swizzle.
__device__ __forceinline__ void load_words(uint32_t (&out)[2][4], const uint8_t* rows) {
  const int32_t g = threadIdx.x % 32 / 4;
  const int32_t t = threadIdx.x % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const uint4 words = *reinterpret_cast<const uint4*>(rows + g * 128 + ((2 * t + half) ^ g) * 16);
    out[half][0] = words.x;
    out[half][1] = words.y;
    out[half][2] = words.z;
    out[half][3] = words.w;
  }
}
__device__ __forceinline__ uint32_t low_f16x2(uint32_t e4m3) {
  return device::e4m3x2_to_f16x2(static_cast<uint16_t>(e4m3));
}
__device__ __forceinline__ uint32_t high_f16x2(uint32_t e4m3) {
  return device::e4m3x2_to_f16x2(static_cast<uint16_t>(e4m3 >> 16));
}

// total += 16 weight rows of the next stage by all tokens over 128 columns, scaled. `tokens`: the
// stage's first block of them, as [block][kFewTokensMax][128 bytes], 16-byte chunk c of token t at
// c ^ t; `token_scales` [block][kFewTokensMax]. In which order the columns are summed is free as
// long as both sides keep to it.
template <bool kTwoScales>
__device__ __forceinline__ void multiply(const FewArgs& p, const uint8_t* shared, Ring& ring,
                                         const uint8_t* tokens, const float* token_scales,
                                         float (&total)[4]) {
  const int32_t half_of_rows = threadIdx.x / 32 % 2;
  const int32_t slice = threadIdx.x / 64;
  const uint8_t* const rows =
      shared + ring.at * kFewStageBytes + slice * kFewBoxBytes + half_of_rows * (kFewBoxBytes / 2);
  const float* const scales = reinterpret_cast<const float*>(shared + p.shape.stage_scales_at) +
                              ring.at * 2 * kFewSlices + slice;
  uint32_t a[2][4];
  uint32_t b[2][4];
  uint32_t x[2][4];
  load_words(x, tokens + slice * kFewTokensMax * 128);
  const float2 x_scales =
      *reinterpret_cast<const float2*>(token_scales + slice * kFewTokensMax + threadIdx.x % 4 * 2);
  device::wait_parity(ring.full(), ring.parity);
  load_words(a, rows);
  load_words(b, rows + 8 * 128);
  const float scale_a = scales[0];
  const float scale_b = kTwoScales ? scales[kFewSlices] : scale_a;
  __syncwarp();  // all lanes have what they need
  if (threadIdx.x % 32 == 0) device::arrive(ring.empty());
  ring.advance();
  float sums[2][4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      device::mma_f16(sums[half],
                      {low_f16x2(a[half][i]), low_f16x2(b[half][i]), high_f16x2(a[half][i]),
                       high_f16x2(b[half][i])},
                      {low_f16x2(x[half][i]), high_f16x2(x[half][i])});
    }
  }
  total[0] += (sums[0][0] + sums[1][0]) * (scale_a * x_scales.x);
  total[1] += (sums[0][1] + sums[1][1]) * (scale_a * x_scales.y);
  total[2] += (sums[0][2] + sums[1][2]) * (scale_b * x_scales.x);
  total[3] += (sums[0][3] + sums[1][3]) * (scale_b * x_scales.y);
}

// A warp's sums to [slice][token][kFewPitch], row 16 half + r at r.
__device__ __forceinline__ void put_sums(const FewArgs& p, float* parts, const float (&total)[4]) {
  const int32_t warp = threadIdx.x / 32;
  const int32_t row = warp % 2 * 16 + static_cast<int32_t>(threadIdx.x) % 32 / 4;
  const int32_t token = threadIdx.x % 4 * 2;
  float* const at = parts + (warp / 2 * p.num_tokens + token) * kFewPitch + row;
  if (token < p.num_tokens) {
    at[0] = total[0];
    at[8] = total[2];
  }
  if (token + 1 < p.num_tokens) {
    at[kFewPitch] = total[1];
    at[kFewPitch + 8] = total[3];
  }
}

__device__ __forceinline__ float take_sum(const FewArgs& p, const float* parts, int32_t token,
                                          int32_t row) {
  const float* const at = parts + token * kFewPitch + row;
  float sum = at[0];
#pragma unroll
  for (int slice = 1; slice < kFewSlices; ++slice) {
    sum += at[slice * p.num_tokens * kFewPitch];
  }
  return sum;
}

// --- gate_up ------------------------------------------------------------------------------------

// The input, as multiply() takes it. Tokens that are not there keep what was there: they only spoil
// results of their own.
__device__ __forceinline__ void load_tokens(const FewArgs& p, uint8_t* shared) {
  const int32_t chunks = p.hidden / 16;
  const uint32_t to = device::shared_address(shared) + p.shape.tokens_at;
  for (int32_t i = threadIdx.x; i < p.num_tokens * chunks; i += kMathThreads) {
    const int32_t token = i / chunks;
    const int32_t chunk = i - token * chunks;
    const int32_t row = chunk / 8 * kFewTokensMax + token;
    device::copy_async_16(to + row * 128 + (chunk % 8 ^ token) * 16, p.x + int64_t{i} * 16);
  }
  device::copy_async_commit();
  float* const scales = shared_part<float>(shared, p.shape.token_scales_at);
  const int32_t blocks = p.hidden / 128;
  for (int32_t i = threadIdx.x; i < p.num_tokens * blocks; i += kMathThreads) {
    const int32_t token = i / blocks;
    scales[(i - token * blocks) * kFewTokensMax + token] = __ldcg(p.x_scales + i);
  }
}

// silu(gate) * up of a unit's 16 columns, for the tokens that the expert serves.
__device__ __forceinline__ void put_middle(const FewArgs& p, const FewTables& tables,
                                           const float* parts, int32_t i) {
  const int32_t token = threadIdx.x / 16;
  if (token >= p.num_tokens) return;
  const int32_t per_slot = p.columns / kFewGateRows;
  const int32_t slot = i / per_slot;
  const int32_t pair = tables.pair_at[slot * kFewTokensMax + token];
  if (pair < 0) return;
  const int32_t column = threadIdx.x % 16;
  const int32_t row = column / 8 * 16 + column % 8;
  const float value = silu_mul(take_sum(p, parts, token, row), take_sum(p, parts, token, row + 8));
  p.middle[int64_t{pair} * p.columns + (i - slot * per_slot) * kFewGateRows + column] =
      __float2bfloat16(value);
}

__device__ __forceinline__ void multiply_gate_up(const FewArgs& p, const FewTables& tables,
                                                 uint8_t* shared, Ring& ring) {
  const Units units = units_of_block(p, *tables.num_slots);
  const int32_t num_blocks = p.hidden / 128;
  const uint8_t* const tokens = shared + p.shape.tokens_at;
  const float* const token_scales = shared_part<float>(shared, p.shape.token_scales_at);
  const int32_t sums_size = kFewSlices * p.num_tokens * kFewPitch;
  for (int32_t i = units.begin; i < units.end; ++i) {
    float total[4] = {};
    for (int32_t block = 0; block < num_blocks; block += kFewSlices) {
      multiply<true>(p, shared, ring, tokens + block * kFewTokensMax * 128,
                     token_scales + block * kFewTokensMax, total);
    }
    // With alternating buffers one barrier is enough: who writes a buffer again has passed the
    // barrier that its last readers came to after they had read.
    float* const parts =
        shared_part<float>(shared, p.shape.sums_at) + (i - units.begin) % 2 * sums_size;
    put_sums(p, parts, total);
    part_barrier(kMathBarrier, kMathThreads);
    put_middle(p, tables, parts, i);
  }
}

// --- Between ------------------------------------------------------------------------------------

__device__ __forceinline__ unsigned long long load_acquire(const unsigned long long* at) {
  unsigned long long out;
  asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(out) : "l"(at) : "memory");
  return out;
}

// How many arrivals there are when all blocks of this launch have come. Before this block's own:
// each launch adds as many as it has blocks, and the launches before this one have ended.
__device__ __forceinline__ unsigned long long arrivals_wanted(const FewArgs& p) {
  return (load_acquire(p.arrivals) / gridDim.x + 1) * gridDim.x;
}

// All blocks' middle is there afterwards. Math threads; `wanted` counts in the first.
__device__ __forceinline__ void wait_for_blocks(const FewArgs& p, unsigned long long wanted) {
  part_barrier(kMathBarrier, kMathThreads);
  if (threadIdx.x == 0) {
    __threadfence();
    asm volatile("red.release.gpu.global.add.u64 [%0], 1;" ::"l"(p.arrivals) : "memory");
    while (load_acquire(p.arrivals) < wanted) {
    }
  }
  part_barrier(kMathBarrier, kMathThreads);
}

// --- down ---------------------------------------------------------------------------------------

// The middle of the slots [begin, begin + kFewGroup) as e4m3, a scale for each token and 128
// columns, as multiply() takes it: a warp a slot.
__device__ __forceinline__ void quantise_middle(const FewArgs& p, const FewTables& tables,
                                                uint8_t* shared, int32_t begin) {
  const int32_t lane = threadIdx.x % 32;
  const int32_t own = threadIdx.x / 32;
  const int32_t blocks = p.columns / 128;
  uint8_t* const tiles = shared + p.shape.tokens_at + own * blocks * kFewTokensMax * 128;
  float* const scales =
      shared_part<float>(shared, p.shape.middle_scales_at) + own * blocks * kFewTokensMax;
  if (begin + own >= *tables.num_slots) return;
  for (int32_t token = 0; token < p.num_tokens; ++token) {
    const int32_t pair = tables.pair_at[(begin + own) * kFewTokensMax + token];
    if (pair < 0) continue;
    const auto* const from =
        reinterpret_cast<const uint2*>(p.middle + int64_t{pair} * p.columns) + lane;
    for (int32_t first = 0; first < blocks; first += kFewSlices) {
      uint2 bits[kFewSlices];
#pragma unroll
      for (int i = 0; i < kFewSlices; ++i) bits[i] = __ldcg(from + (first + i) * 32);
#pragma unroll
      for (int i = 0; i < kFewSlices; ++i) {
        const float x[4] = {
            __uint_as_float(bits[i].x << 16), __uint_as_float(bits[i].x & 0xffff0000u),
            __uint_as_float(bits[i].y << 16), __uint_as_float(bits[i].y & 0xffff0000u)};
        const float scale = device::fp8_scale(device::lanes_max(
            fmaxf(fmaxf(fabsf(x[0]), fabsf(x[1])), fmaxf(fabsf(x[2]), fabsf(x[3])))));
        const float inverse = __frcp_rn(scale);
        const int32_t row = (first + i) * kFewTokensMax + token;
        *reinterpret_cast<uint32_t*>(tiles + row * 128 + (lane / 4 ^ token) * 16 + lane % 4 * 4) =
            device::pack_e4m3(__fmul_rn(x[0], inverse), __fmul_rn(x[1], inverse),
                              __fmul_rn(x[2], inverse), __fmul_rn(x[3], inverse));
        if (lane == 0) scales[row] = scale;
      }
    }
  }
}

// out += the weighted results of the slots [begin, end) for this thread's token and row.
__device__ __forceinline__ void add_slots(const FewArgs& p, const FewTables& tables,
                                          const float* parts, int32_t begin, int32_t end,
                                          float& out) {
  const int32_t token = threadIdx.x / 32;
  const int32_t row = threadIdx.x % 32;
  if (token >= p.num_tokens) return;
  const int32_t sums_size = kFewSlices * p.num_tokens * kFewPitch;
  for (int32_t slot = begin; slot < end; ++slot) {
    const int32_t at = slot * kFewTokensMax + token;
    if (tables.pair_at[at] < 0) continue;
    const float y = take_sum(p, parts + (slot - begin) * sums_size, token, row);
    out += tables.weight_at[at] * __bfloat162float(__float2bfloat16(y));
  }
}

__device__ __forceinline__ void multiply_down(const FewArgs& p, const FewTables& tables,
                                              uint8_t* shared, Ring& ring) {
  const int32_t num_slots = *tables.num_slots;
  const int32_t blocks = p.columns / 128;
  const int32_t sums_size = kFewSlices * p.num_tokens * kFewPitch;
  const float* const scales = shared_part<float>(shared, p.shape.middle_scales_at);
  float* const parts = shared_part<float>(shared, p.shape.sums_at);
  float out = 0.0f;
  for (int32_t begin = 0; begin < num_slots; begin += kFewGroup) {
    const int32_t end = min(begin + kFewGroup, num_slots);
    quantise_middle(p, tables, shared, begin);
    part_barrier(kMathBarrier, kMathThreads);
    for (int32_t slot = begin; slot < end; ++slot) {
      float total[4] = {};
      for (int32_t block = 0; block < blocks; block += kFewSlices) {
        const int32_t row = ((slot - begin) * blocks + block) * kFewTokensMax;
        multiply<false>(p, shared, ring, shared + p.shape.tokens_at + row * 128, scales + row,
                        total);
      }
      put_sums(p, parts + (slot - begin) * sums_size, total);
    }
    part_barrier(kMathBarrier, kMathThreads);
    add_slots(p, tables, parts, begin, end, out);
  }
  const int32_t token = threadIdx.x / 32;
  if (token >= p.num_tokens) return;
  p.out[int64_t{token} * p.hidden + blockIdx.x * kFewRows + threadIdx.x % 32] =
      __float2bfloat16(out);
}

__device__ __forceinline__ void compute(const FewArgs& p, uint8_t* shared) {
  const FewTables tables = tables_at(p, shared);
  unsigned long long wanted = 0;
  load_tokens(p, shared);
  if (threadIdx.x < 32) fill_pairs(p, tables);
  if (threadIdx.x == 0) wanted = arrivals_wanted(p);
  device::copy_async_wait<0>();
  part_barrier(kMathBarrier, kMathThreads);
  if (threadIdx.x < 32) fill_places(p, tables);  // a barrier comes before anybody looks
  Ring ring(p, device::shared_address(shared));
  multiply_gate_up(p, tables, shared, ring);
  wait_for_blocks(p, wanted);
  multiply_down(p, tables, shared, ring);
}

#endif

// --- Kernel: grid [hidden / 32], all at once ----------------------------------------------------

__global__ void __launch_bounds__(kThreads, 1)
    experts_few_kernel(const __grid_constant__ FewArgs p) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
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
  TRY_ASSIGN(out.arrivals_, context.allocate_array<unsigned long long>(1, Purpose::kWorkspace));
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
  // The count of the blocks' arrivals needs launches of one size.
  if (problem.hidden != hidden_) return "experts_few: made for another hidden width";
  return experts_few_refusal(problem);
}

const CUtensorMap& ExpertsFew::weight_map(const DeviceMatrix& w, int32_t pair_rows,
                                          int32_t group_rows) {
  const auto at = made_.find(w.values);
  if (at != made_.end()) {
    const DeviceMatrix& of = at->second.of;
    CHECK(of.count == w.count && of.rows == w.rows && of.cols == w.cols && of.ld == w.ld);
    return at->second.map;
  }
  const PairedRows view = {.pair_rows = pair_rows,
                           .group_rows = group_rows,
                           .groups = w.rows / 16,
                           .block_rows = w.rows,
                           .blocks = w.count,
                           .box_groups = kFewRows / 16,
                           .box_blocks = 1};
  return made_.emplace(w.values, Made{w, maps_->paired_rows(w, view)}).first->second.map;
}

void ExpertsFew::run(const ExpertsParams& p, uint16_t* middle) {
  CHECK(refusal(p) == nullptr);
  const DeviceMatrix& gate_up = context_->stack(p.experts->gate_up);
  const DeviceMatrix& down = context_->stack(p.experts->down);
  // Scales are copied sixteen bytes at a time.
  CHECK_EQ(reinterpret_cast<uintptr_t>(gate_up.scales) % 16, 0u);
  CHECK_EQ(reinterpret_cast<uintptr_t>(down.scales) % 16, 0u);
  FewArgs args;
  args.gate_up_map = weight_map(gate_up, gate_up.rows / 2, 8);
  args.down_map = weight_map(down, 8, 16);
  args.gate_up_scales = gate_up.scales;
  args.down_scales = down.scales;
  args.x = static_cast<const uint8_t*>(p.x.q);
  args.x_scales = p.x.q_scales;
  args.ids = p.expert_ids;
  args.weights = p.expert_weights;
  args.middle = reinterpret_cast<__nv_bfloat16*>(middle);
  args.out = static_cast<__nv_bfloat16*>(p.out);
  args.arrivals = arrivals_;
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
