#include "kernels/cuda/route/route_ops.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/route/select_experts.cuh"
#include "kernels/device/pdl.cuh"

namespace mimo::kernels::cuda {
namespace {

using router::kRouteThreads;
using router::kRouteWarps;
using router::PartialScores;

constexpr int32_t kExpertsMax = 1024;
constexpr int32_t kChosenMax = 32;  // a lane each
constexpr int32_t kFewTokens = 16;
constexpr int32_t kSplitsMax = 32;
constexpr int32_t kTileCols = 64;   // experts
constexpr int32_t kTileDepth = 16;  // columns of x at a time
constexpr int32_t kSmallRows = 64;  // tokens
constexpr int32_t kLargeRows = 128;

__device__ __forceinline__ float bf16_low(uint32_t two) { return __uint_as_float(two << 16); }
__device__ __forceinline__ float bf16_high(uint32_t two) {
  return __uint_as_float(two & 0xffff0000u);
}

// --- Few tokens: a block holds two experts' weights, a thread four columns of every 1024 ------
constexpr int32_t kFewExperts = 2;
constexpr int32_t kFewSteps = 4;
constexpr int32_t kStepCols = kRouteThreads * 4;
constexpr int32_t kPassCols = kStepCols * kFewSteps;

struct FewWeights {
  float4 w[kFewSteps][kFewExperts];
};

// Columns [begin, begin + kPassCols); zeros outside the weights.
__device__ __forceinline__ FewWeights load_weights(const RouteParams& p, int32_t begin) {
  FewWeights out;
#pragma unroll
  for (int32_t step = 0; step < kFewSteps; ++step) {
    const int32_t col = begin + step * kStepCols + static_cast<int32_t>(threadIdx.x) * 4;
#pragma unroll
    for (int32_t e = 0; e < kFewExperts; ++e) {
      const int32_t expert = static_cast<int32_t>(blockIdx.x) * kFewExperts + e;
      const bool inside = col < p.hidden && expert < p.num_experts;
      const auto* const from =
          reinterpret_cast<const float4*>(p.weight + int64_t{expert} * p.hidden + col);
      out.w[step][e] = inside ? __ldg(from) : float4{0, 0, 0, 0};
    }
  }
  return out;
}

template <int kTokens>
__device__ __forceinline__ void add_products(const RouteParams& p, int32_t begin,
                                             const FewWeights& weights,
                                             float (&sums)[kTokens * kFewExperts]) {
#pragma unroll
  for (int32_t step = 0; step < kFewSteps; ++step) {
    const int32_t col = begin + step * kStepCols + static_cast<int32_t>(threadIdx.x) * 4;
    if (col >= p.hidden) continue;
#pragma unroll
    for (int32_t t = 0; t < kTokens; ++t) {
      if (t >= p.num_tokens) continue;
      const uint2 x = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(p.x) +
                                                      int64_t{t} * p.hidden + col);
#pragma unroll
      for (int32_t e = 0; e < kFewExperts; ++e) {
        const float4& w = weights.w[step][e];
        float& sum = sums[t * kFewExperts + e];
        sum = fmaf(bf16_low(x.x), w.x, sum);
        sum = fmaf(bf16_high(x.x), w.y, sum);
        sum = fmaf(bf16_low(x.y), w.z, sum);
        sum = fmaf(bf16_high(x.y), w.w, sum);
      }
    }
  }
}

// Sums each of kCount values over the warp; value i ends in the lanes with lane * kCount / 32 == i.
template <int kCount>
__device__ __forceinline__ float transposed_sum(float (&values)[kCount]) {
  const uint32_t lane = threadIdx.x % 32;
  int32_t num = kCount;
#pragma unroll
  for (int32_t offset = 16; offset > 0; offset /= 2) {
    const bool upper = (lane & static_cast<uint32_t>(offset)) != 0;
    if (num == 1) {
      values[0] += __shfl_xor_sync(~0u, values[0], offset);
      continue;
    }
    num /= 2;
#pragma unroll
    for (int32_t i = 0; i < kCount / 2; ++i) {
      if (i >= num) continue;
      const float sent = upper ? values[i] : values[i + num];
      const float kept = upper ? values[i + num] : values[i];
      values[i] = kept + __shfl_xor_sync(~0u, sent, offset);
    }
  }
  return values[0];
}

// True in every thread of the last block of the launch to come here; what the others wrote before
// is then seen.
__device__ __forceinline__ bool is_last_block(uint32_t* arrived) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(arrived, 1u) == gridDim.x - 1;
    if (last) *arrived = 0;
  }
  __syncthreads();
  __threadfence();
  return last;
}

// Grid [ceil(E / kFewExperts)]. Weights come in before the inputs are there.
template <int kTokens>
__global__ void __launch_bounds__(kRouteThreads)
    few_kernel(const __grid_constant__ RouteParams p, float* scores, uint32_t* arrived) {
  constexpr int kCount = kTokens * kFewExperts;
  __shared__ float partial[kRouteWarps][kCount];
  extern __shared__ float shared[];
  device::let_next_start();
  FewWeights weights = load_weights(p, 0);
  device::wait_for_inputs();

  float sums[kCount] = {};
  add_products<kTokens>(p, 0, weights, sums);
  for (int32_t begin = kPassCols; begin < p.hidden; begin += kPassCols) {
    weights = load_weights(p, begin);
    add_products<kTokens>(p, begin, weights, sums);
  }
  const float sum = transposed_sum<kCount>(sums);
  const uint32_t lane = threadIdx.x % 32;
  if (lane % (32 / kCount) == 0) partial[threadIdx.x / 32][lane / (32 / kCount)] = sum;
  __syncthreads();
  if (threadIdx.x < kCount) {
    float total = 0;
    for (int32_t w = 0; w < kRouteWarps; ++w) total += partial[w][threadIdx.x];
    const auto token = static_cast<int32_t>(threadIdx.x) / kFewExperts;
    const auto expert = static_cast<int32_t>(blockIdx.x * kFewExperts + threadIdx.x % kFewExperts);
    if (token < p.num_tokens && expert < p.num_experts) {
      scores[int64_t{token} * p.num_experts + expert] = total;
    }
  }
  if (!is_last_block(arrived)) return;
  for (int32_t first = 0; first < p.num_tokens; first += kRouteWarps) {
    __syncthreads();  // the tokens before are done with the shared memory
    router::select_experts(p, PartialScores{scores, 1}, first,
                           min(kRouteWarps, p.num_tokens - first), shared);
  }
}

// --- Many tokens: kRows x kTileCols of the scores, 8 x 4 a thread ------------------------------
template <int kRows>
struct ScoreTile {
  static constexpr int kThreads = kRows * 2;
  static constexpr int kWeightLoads = kTileCols * kTileDepth / 4 / kThreads;
  // Four more: rows stay aligned for 16-byte reads, and neighbours lie in other banks.
  float x[2][kTileDepth][kRows + 4];
  float w[2][kTileDepth][kTileCols + 4];
};

// What a thread holds of the next step's inputs.
template <int kRows>
struct NextStep {
  uint4 x;  // eight columns of a token
  float4 w[ScoreTile<kRows>::kWeightLoads];
};

template <int kRows>
__device__ __forceinline__ NextStep<kRows> load_step(const RouteParams& p, int32_t col,
                                                     int32_t end) {
  using Tile = ScoreTile<kRows>;
  const auto tid = static_cast<int32_t>(threadIdx.x);
  NextStep<kRows> out;
  const int32_t token = static_cast<int32_t>(blockIdx.x) * kRows + tid / 2;
  const int32_t x_col = col + tid % 2 * 8;
  out.x = {0, 0, 0, 0};
  if (token < p.num_tokens && x_col < end) {
    out.x = *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(p.x) +
                                            int64_t{token} * p.hidden + x_col);
  }
#pragma unroll
  for (int32_t i = 0; i < Tile::kWeightLoads; ++i) {
    const int32_t chunk = tid + i * Tile::kThreads;
    const int32_t expert = static_cast<int32_t>(blockIdx.y) * kTileCols + chunk / 4;
    const int32_t w_col = col + chunk % 4 * 4;
    out.w[i] = {0, 0, 0, 0};
    if (expert < p.num_experts && w_col < end) {
      out.w[i] =
          __ldg(reinterpret_cast<const float4*>(p.weight + int64_t{expert} * p.hidden + w_col));
    }
  }
  return out;
}

template <int kRows>
__device__ __forceinline__ void store_step(const NextStep<kRows>& step, ScoreTile<kRows>& tile,
                                           int32_t buffer) {
  const auto tid = static_cast<int32_t>(threadIdx.x);
  const uint32_t x[4] = {step.x.x, step.x.y, step.x.z, step.x.w};
#pragma unroll
  for (int32_t i = 0; i < 4; ++i) {
    tile.x[buffer][tid % 2 * 8 + 2 * i][tid / 2] = bf16_low(x[i]);
    tile.x[buffer][tid % 2 * 8 + 2 * i + 1][tid / 2] = bf16_high(x[i]);
  }
#pragma unroll
  for (int32_t i = 0; i < ScoreTile<kRows>::kWeightLoads; ++i) {
    const int32_t chunk = tid + i * ScoreTile<kRows>::kThreads;
    const int32_t depth = chunk % 4 * 4;
    tile.w[buffer][depth][chunk / 4] = step.w[i].x;
    tile.w[buffer][depth + 1][chunk / 4] = step.w[i].y;
    tile.w[buffer][depth + 2][chunk / 4] = step.w[i].z;
    tile.w[buffer][depth + 3][chunk / 4] = step.w[i].w;
  }
}

// Where a thread's 8 x 4 lies: rows row + {0..3} and kRows / 2 + row + {0..3}, cols col + {0..3}.
// A warp reads 16 rows and 32 columns a step: three passes over the banks for 32 products.
struct ThreadPlace {
  int32_t row = 0;
  int32_t col = 0;
};
__device__ __forceinline__ ThreadPlace thread_place() {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const auto warp = static_cast<int32_t>(threadIdx.x / 32);
  return {(warp / 2 * 4 + lane / 8) * 4, (warp % 2 * 8 + lane % 8) * 4};
}

template <int kRows>
__device__ __forceinline__ void multiply_step(const ScoreTile<kRows>& tile, int32_t buffer,
                                              ThreadPlace place, float (&sums)[8][4]) {
#pragma unroll
  for (int32_t k = 0; k < kTileDepth; ++k) {
    const float4 low = *reinterpret_cast<const float4*>(&tile.x[buffer][k][place.row]);
    const float4 high = *reinterpret_cast<const float4*>(&tile.x[buffer][k][kRows / 2 + place.row]);
    const float4 w4 = *reinterpret_cast<const float4*>(&tile.w[buffer][k][place.col]);
    const float x[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    const float w[4] = {w4.x, w4.y, w4.z, w4.w};
#pragma unroll
    for (int32_t r = 0; r < 8; ++r) {
#pragma unroll
      for (int32_t c = 0; c < 4; ++c) sums[r][c] = fmaf(x[r], w[c], sums[r][c]);
    }
  }
}

// The weights [rows of this block, begin..end) on their way to L2, by the blocks of the first
// tokens.
__device__ __forceinline__ void prefetch_weights(const RouteParams& p, int32_t begin, int32_t end) {
  if (blockIdx.x != 0) return;
  constexpr int32_t kLine = 32;  // floats
  const int32_t lines = (end - begin + kLine - 1) / kLine;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < kTileCols * lines;
       i += static_cast<int32_t>(blockDim.x)) {
    const int32_t expert = static_cast<int32_t>(blockIdx.y) * kTileCols + i / lines;
    if (expert >= p.num_experts) return;
    const float* const at = p.weight + int64_t{expert} * p.hidden + begin + i % lines * kLine;
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
  }
}

// Grid [ceil(T / kRows), ceil(E / kTileCols), splits]; columns of x a split: split_cols.
template <int kRows>
__global__ void __launch_bounds__(ScoreTile<kRows>::kThreads, kRows == kLargeRows ? 2 : 4)
    score_kernel(const __grid_constant__ RouteParams p, float* scores, int32_t split_cols) {
  __shared__ __align__(16) ScoreTile<kRows> tile;
  const int32_t begin = static_cast<int32_t>(blockIdx.z) * split_cols;
  const int32_t end = min(begin + split_cols, p.hidden);
  device::let_next_start();
  prefetch_weights(p, begin, end);
  device::wait_for_inputs();

  const ThreadPlace place = thread_place();
  float sums[8][4] = {};
  store_step<kRows>(load_step<kRows>(p, begin, end), tile, 0);
  __syncthreads();
  int32_t buffer = 0;
  for (int32_t col = begin; col < end; col += kTileDepth) {
    const bool more = col + kTileDepth < end;
    NextStep<kRows> next;
    if (more) next = load_step<kRows>(p, col + kTileDepth, end);
    multiply_step<kRows>(tile, buffer, place, sums);
    buffer ^= 1;
    if (more) store_step<kRows>(next, tile, buffer);
    __syncthreads();
  }
  const int32_t first_token = static_cast<int32_t>(blockIdx.x) * kRows;
  const int32_t expert = static_cast<int32_t>(blockIdx.y) * kTileCols + place.col;
#pragma unroll
  for (int32_t r = 0; r < 8; ++r) {
    const int32_t token = first_token + r / 4 * (kRows / 2) + place.row + r % 4;
    if (token >= p.num_tokens) continue;
    float* const out = scores + (int64_t{blockIdx.z} * p.num_tokens + token) * p.num_experts;
#pragma unroll
    for (int32_t c = 0; c < 4; ++c) {
      if (expert + c < p.num_experts) out[expert + c] = sums[r][c];
    }
  }
}

// Grid [ceil(T / tokens_a_block)].
__global__ void __launch_bounds__(kRouteThreads)
    select_kernel(const __grid_constant__ RouteParams p, PartialScores partial,
                  int32_t tokens_a_block) {
  extern __shared__ float shared[];
  device::let_next_start();
  device::wait_for_inputs();
  const int32_t first = static_cast<int32_t>(blockIdx.x) * tokens_a_block;
  router::select_experts(p, partial, first, min(tokens_a_block, p.num_tokens - first), shared);
}

// --- Choice of tiles ---------------------------------------------------------------------------
struct ScorePlan {
  int32_t rows = kSmallRows;
  int32_t splits = 1;
  int32_t split_cols = 0;
};

int32_t ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

// Large tiles where they fill the device; else small ones, and x's columns split until two blocks
// a multiprocessor have work. splits * T * E <= num_sms * 2 * a small tile, or T * E.
ScorePlan plan_scores(int32_t num_tokens, int32_t num_experts, int32_t hidden, int32_t num_sms) {
  ScorePlan out;
  const int32_t expert_tiles = ceil_div(num_experts, kTileCols);
  if (int64_t{2} * ceil_div(num_tokens, kLargeRows) * expert_tiles >= int64_t{3} * num_sms) {
    return {kLargeRows, 1, hidden};
  }
  const int32_t tiles = ceil_div(num_tokens, kSmallRows) * expert_tiles;
  const int32_t steps = ceil_div(hidden, kTileDepth);
  const int32_t splits = std::clamp(2 * num_sms / tiles, 1, std::min(kSplitsMax, steps));
  out.split_cols = ceil_div(steps, splits) * kTileDepth;
  out.splits = ceil_div(hidden, out.split_cols);
  return out;
}

template <int kRows>
void launch_scores(const RouteParams& p, const ScorePlan& plan, float* scores,
                   cudaStream_t stream) {
  const dim3 grid(ceil_div(p.num_tokens, kRows), ceil_div(p.num_experts, kTileCols), plan.splits);
  launch(score_kernel<kRows>, {grid, dim3(ScoreTile<kRows>::kThreads)}, stream, p, scores,
         plan.split_cols);
}

void check_params(const RouteParams& p) {
  CHECK_GE(p.num_tokens, 0);
  CHECK_GT(p.num_experts, 0);
  CHECK_LE(p.num_experts, kExpertsMax);
  CHECK_GT(p.hidden, 0);
  CHECK_EQ(p.hidden % 8, 0);
  CHECK_GT(p.num_groups, 0);
  CHECK_EQ(p.num_experts % p.num_groups, 0);
  CHECK(p.num_groups == 1 || p.num_experts / p.num_groups >= 2);
  CHECK_GT(p.groups_per_token, 0);
  CHECK_LE(p.groups_per_token, p.num_groups);
  CHECK_GT(p.experts_per_token, 0);
  CHECK_LE(p.experts_per_token, kChosenMax);
  CHECK_LE(p.experts_per_token, p.num_experts / p.num_groups * p.groups_per_token);
  CHECK(p.runs.context == nullptr || p.runs.row_run != nullptr);
}

}  // namespace

Result<void> RouteOps::prepare(const StepLimits& limits) {
  if (limits.num_experts == 0) return {};
  num_scores_ = std::max(int64_t{limits.tokens_max} * limits.num_experts,
                         int64_t{2} * context_.num_sms() * kSmallRows * kTileCols);
  TRY_ASSIGN(scores_, context_.allocate_array<float>(num_scores_, Purpose::kWorkspace));
  TRY_ASSIGN(arrived_, context_.allocate_array<uint32_t>(1, Purpose::kWorkspace));
  const int64_t shared_bytes_max =
      router::select_shared_floats(kExpertsMax, kExpertsMax / 2) * int64_t{sizeof(float)};
  allow_shared(few_kernel<1>, shared_bytes_max);
  allow_shared(few_kernel<4>, shared_bytes_max);
  allow_shared(few_kernel<kFewTokens>, shared_bytes_max);
  allow_shared(select_kernel, shared_bytes_max);
  return {};
}

void RouteOps::route(const RouteParams& p) {
  check_params(p);
  if (p.num_tokens == 0) return;
  const cudaStream_t stream = context_.stream();
  const int64_t shared_bytes =
      router::select_shared_floats(p.num_experts, p.num_groups) * int64_t{sizeof(float)};
  CHECK_LE(int64_t{p.num_tokens} * p.num_experts, num_scores_);
  if (p.num_tokens <= kFewTokens) {
    const LaunchShape shape{dim3(ceil_div(p.num_experts, kFewExperts)), dim3(kRouteThreads),
                            shared_bytes};
    const auto kernel = p.num_tokens == 1   ? few_kernel<1>
                        : p.num_tokens <= 4 ? few_kernel<4>
                                            : few_kernel<kFewTokens>;
    launch(kernel, shape, stream, p, scores_, arrived_);
    return;
  }
  const ScorePlan plan = plan_scores(p.num_tokens, p.num_experts, p.hidden, context_.num_sms());
  CHECK_LE(int64_t{plan.splits} * p.num_tokens * p.num_experts, num_scores_);
  if (plan.rows == kLargeRows) {
    launch_scores<kLargeRows>(p, plan, scores_, stream);
  } else {
    launch_scores<kSmallRows>(p, plan, scores_, stream);
  }
  // A block's threads add a token's splits together; with none to add, each warp has its token.
  const int32_t tokens_a_block = plan.splits > 1 ? 1 : kRouteWarps;
  launch(select_kernel,
         {dim3(ceil_div(p.num_tokens, tokens_a_block)), dim3(kRouteThreads), shared_bytes}, stream,
         p, PartialScores{scores_, plan.splits}, tokens_a_block);
}

}  // namespace mimo::kernels::cuda
