#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/route/route_finish.cuh"
#include "kernels/cuda/route/route_kernels.h"
#include "kernels/cuda/rows/folded_norm.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"

namespace mimo::kernels::cuda::router {
namespace {

__device__ __forceinline__ float bf16_low(uint32_t two) { return __uint_as_float(two << 16); }
__device__ __forceinline__ float bf16_high(uint32_t two) {
  return __uint_as_float(two & 0xffff0000u);
}

// --- Few tokens: a warp has two experts, a lane four columns of every 128 ---------------------
constexpr int32_t kWarpExperts = kFewExperts / kRouteWarps;
constexpr int32_t kSteps = 4;
constexpr int32_t kStepCols = 32 * 4;
constexpr int32_t kPassCols = kStepCols * kSteps;

struct Place {
  int32_t expert = 0;  // the warp's first
  int32_t col = 0;     // the lane's first
  int32_t end = 0;     // of the columns
};
__device__ __forceinline__ Place warp_place(const RouteWork& work) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const auto warp = static_cast<int32_t>(threadIdx.x / 32);
  const int32_t begin = static_cast<int32_t>(blockIdx.x) * work.cut.split_cols;
  return {static_cast<int32_t>(blockIdx.y) * kFewExperts + warp * kWarpExperts, begin + lane * 4,
          min(begin + work.cut.split_cols, work.route.hidden)};
}

struct LaneWeights {
  float4 w[kSteps][kWarpExperts];
};

// Of kPassCols columns from `col` on; zeros outside the weights.
__device__ __forceinline__ LaneWeights load_weights(const RouteParams& p, const Place& place,
                                                    int32_t col) {
  LaneWeights out;
#pragma unroll
  for (int32_t step = 0; step < kSteps; ++step) {
    const int32_t at = col + step * kStepCols;
#pragma unroll
    for (int32_t e = 0; e < kWarpExperts; ++e) {
      const bool inside = at < place.end && place.expert + e < p.num_experts;
      const auto* const from =
          reinterpret_cast<const float4*>(p.weight + int64_t{place.expert + e} * p.hidden + at);
      out.w[step][e] = inside ? __ldg(from) : float4{0, 0, 0, 0};
    }
  }
  return out;
}

template <int kTokens>
struct LaneRows {
  uint2 x[kSteps][kTokens];  // four columns each
};

// As they lie in memory, from `col` on; zeros outside the weights.
template <int kTokens>
__device__ __forceinline__ LaneRows<kTokens> load_rows(const RouteParams& p, const Place& place,
                                                       int32_t col) {
  LaneRows<kTokens> out;
#pragma unroll
  for (int32_t step = 0; step < kSteps; ++step) {
    const int32_t at = col + step * kStepCols;
#pragma unroll
    for (int32_t t = 0; t < kTokens; ++t) {
      const auto* const from = reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(p.x) +
                                                              int64_t{t} * p.hidden + at);
      out.x[step][t] = t < p.num_tokens && at < place.end ? *from : uint2{0, 0};
    }
  }
  return out;
}

template <int kTokens>
__device__ __forceinline__ void add_products(const LaneWeights& weights,
                                             const LaneRows<kTokens>& rows,
                                             float (&sums)[kTokens * kWarpExperts]) {
#pragma unroll
  for (int32_t step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int32_t e = 0; e < kWarpExperts; ++e) {
      const float4& w = weights.w[step][e];
#pragma unroll
      for (int32_t t = 0; t < kTokens; ++t) {
        const uint2 x = rows.x[step][t];
        float& sum = sums[t * kWarpExperts + e];
        sum = fmaf(bf16_low(x.x), w.x, sum);
        sum = fmaf(bf16_high(x.x), w.y, sum);
        sum = fmaf(bf16_low(x.y), w.z, sum);
        sum = fmaf(bf16_high(x.y), w.w, sum);
      }
    }
  }
}

// --- A row that the kernel norms itself: a split is one pass ------------------------------------
static_assert(kFewSplits * kPassCols >= kFoldHiddenMax && kRouteThreads == kFoldThreads);

struct FoldShared {
  __align__(16) uint16_t sums[kPassCols];  // residual + delta in the split's columns
  float squares[kFoldWarps];
};

// The norm's weights for a lane's columns.
struct NormWeights {
  float4 w[kSteps];
};
__device__ __forceinline__ NormWeights load_norm_weights(const AddNormParams& p,
                                                         const Place& place) {
  NormWeights out;
#pragma unroll
  for (int32_t step = 0; step < kSteps; ++step) {
    const int32_t at = place.col + step * kStepCols;
    const auto* const from = reinterpret_cast<const float4*>(p.weight + at);
    out.w[step] = at < place.end ? __ldg(from) : float4{0, 0, 0, 0};
  }
  return out;
}

__device__ __forceinline__ int32_t split_begin(const RouteWork& work) {
  return static_cast<int32_t>(blockIdx.x) * work.cut.split_cols;
}

// The whole block; a barrier follows.
__device__ __forceinline__ void share_sums(const RouteWork& work, FoldShared& shared) {
  const FoldedRow row = fold_row(work.norm, shared.squares);
#pragma unroll
  for (int32_t v = 0; v < kFoldVecs; ++v) {
    const int32_t at = fold_column(v) - split_begin(work);
    if (at >= 0 && at < work.cut.split_cols) row.sums[v].store(&shared.sums[at]);
  }
}

__device__ __forceinline__ LaneRows<1> norm_row(const RouteWork& work, const Place& place,
                                                const NormWeights& weights,
                                                const FoldShared& shared) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const float factor = fold_factor(work.norm, shared.squares);
  LaneRows<1> out;
#pragma unroll
  for (int32_t step = 0; step < kSteps; ++step) {
    out.x[step][0] = {0, 0};
    if (place.col + step * kStepCols >= place.end) continue;
    const auto sums = *reinterpret_cast<const uint2*>(&shared.sums[lane * 4 + step * kStepCols]);
    const float4& w = weights.w[step];
    out.x[step][0] = {device::pack_bf16(device::normed(bf16_low(sums.x), factor, w.x),
                                        device::normed(bf16_high(sums.x), factor, w.y)),
                      device::pack_bf16(device::normed(bf16_low(sums.y), factor, w.z),
                                        device::normed(bf16_high(sums.y), factor, w.w))};
  }
  return out;
}

// What the norm leaves in the split's columns, by the split's first block.
__device__ __forceinline__ void leave_norm(const RouteWork& work, const FoldShared& shared) {
  using device::Bf16x8;
  const auto at = static_cast<int32_t>(threadIdx.x) * Bf16x8::kSize;
  if (blockIdx.y != 0 || at >= kPassCols) return;
  const bool active = at < work.cut.split_cols;
  const int32_t column = split_begin(work) + at;
  float weight[Bf16x8::kSize] = {};
  if (active) device::load_constant(work.norm.weight + column, weight);
  const float factor = fold_factor(work.norm, shared.squares);
  const Bf16x8 sum = active ? Bf16x8::load(&shared.sums[at]) : Bf16x8::zeros();
  const Bf16x8 out = active ? device::normed(sum, factor, weight) : Bf16x8::zeros();
  const device::Quantised quantised = device::quantised(out);
  if (active) store_folded(work.norm, column, sum, out, quantised);
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

// Grid [splits, ceil(E / kFewExperts)]. Weights come in before the inputs are there. Norm:
// FoldedNorm<kTokens> or ReadyRows.
template <int kTokens, typename Norm>
__global__ void __launch_bounds__(kRouteThreads, 2)
    few_kernel(const __grid_constant__ RouteWork work) {
  constexpr int kCount = kTokens * kWarpExperts;
  constexpr uint32_t kLanes = 32 / kCount;  // that have a value's sum
  constexpr bool kFolds = Norm::kFolds;
  static_assert(kTokens == 1 || !kFolds);
  extern __shared__ __align__(16) uint8_t memory[];
  __shared__ FoldShared fold;
  const RouteParams& p = work.route;
  const Place place = warp_place(work);
  device::let_next_start();
  LaneWeights weights = load_weights(p, place, place.col);
  NormWeights norm_weights;
  if constexpr (kFolds) norm_weights = load_norm_weights(work.norm, place);
  start_finish(work, memory);
  device::wait_for_inputs();

  FirstRun run = find_run(work);
  float sums[kCount] = {};
  if constexpr (kFolds) {
    share_sums(work, fold);
    __syncthreads();
    add_products<kTokens>(weights, norm_row(work, place, norm_weights, fold), sums);
  } else {
    add_products<kTokens>(weights, load_rows<kTokens>(p, place, place.col), sums);
    for (int32_t col = place.col + kPassCols; col < place.end; col += kPassCols) {
      weights = load_weights(p, place, col);
      add_products<kTokens>(weights, load_rows<kTokens>(p, place, col), sums);
    }
  }
  __syncwarp();
  const float sum = transposed_sum<kCount>(sums);
  const uint32_t lane = threadIdx.x % 32;
  const auto value = static_cast<int32_t>(lane / kLanes);
  const int32_t token = value / kWarpExperts;
  const int32_t expert = place.expert + value % kWarpExperts;
  if (lane % kLanes == 0 && token < p.num_tokens && expert < p.num_experts) {
    put(box_scores(work, token, static_cast<int32_t>(blockIdx.x), expert), score_word(sum));
  }
  if constexpr (kFolds) leave_norm(work, fold);
  find_context(work, run);
  finish<kFewSplits, FewPairs>(work, run, memory);
}

}  // namespace

void prepare_few() {
  allow_shared(few_kernel<1, FoldedNorm>, kFinishSharedMax);
  allow_shared(few_kernel<1, ReadyRows>, kFinishSharedMax);
  allow_shared(few_kernel<kFewTokensMax, ReadyRows>, kFinishSharedMax);
}

void launch_few(const RouteWork& work, cudaStream_t stream) {
  const RoutePlan& cut = work.cut;
  CHECK_EQ(cut.experts_a_block, kFewExperts);
  CHECK_LE(cut.splits, kFewSplits);
  const LaunchShape shape{
      dim3(static_cast<uint32_t>(cut.splits), static_cast<uint32_t>(cut.num_blocks / cut.splits)),
      dim3(kRouteThreads), finish_shared_bytes(work)};
  if (work.norm.num_tokens > 0) return launch(few_kernel<1, FoldedNorm>, shape, stream, work);
  launch(cut.tokens_a_block == 1 ? few_kernel<1, ReadyRows> : few_kernel<kFewTokensMax, ReadyRows>,
         shape, stream, work);
}

}  // namespace mimo::kernels::cuda::router
