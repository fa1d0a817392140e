#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/route/route_kernels.h"
#include "kernels/cuda/route/score_mma.cuh"
#include "kernels/cuda/route/select_experts.cuh"
#include "kernels/device/cp_async.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"

namespace mimo::kernels::cuda::router {
namespace {

// --- Tile: 32 experts x 8 kTokenTiles tokens a warp, of every kColWarps-th chunk of 32 columns
// ---------------
constexpr int32_t kWarpExpertTiles = 2;
constexpr int32_t kWarpExperts = kWarpExpertTiles * kMmaExperts;

template <int kTokenTiles>
using WarpSums = float[kWarpExpertTiles][kTokenTiles][4];

// A ring of stages in shared memory. Pitches: eight lanes that read together meet every bank once.
template <int kTokenTiles_, int kExpertWarps_, int kTokenWarps_, int kColWarps, int kStages_>
struct Tile {
  static constexpr int kTokenTiles = kTokenTiles_;
  static constexpr int kExpertWarps = kExpertWarps_;
  static constexpr int kTokenWarps = kTokenWarps_;
  static constexpr int kThreads = kExpertWarps * kTokenWarps * kColWarps * 32;
  static constexpr int kWarpTokens = kTokenTiles * kMmaTokens;
  using Sums = WarpSums<kTokenTiles>;
  static constexpr int kStages = kStages_;
  static constexpr int kExperts = kExpertWarps * kWarpExperts;
  static constexpr int kTokens = kTokenWarps * kWarpTokens;
  static constexpr int kCols = kColWarps * kChunkCols;
  static constexpr int kWeightPitch = kCols + 4;                          // floats
  static constexpr int kTokenPitch = kCols + (kCols % 64 == 0 ? 32 : 0);  // bf16
  struct Stage {
    float w[kExperts][kWeightPitch];
    uint16_t x[kTokens][kTokenPitch];
  };
  static constexpr int64_t kRingBytes = int64_t{kStages} * int64_t{sizeof(Stage)};
};
using WideTile = Tile<8, 4, 2, 1, 8>;
static_assert(WideTile::kExperts == kTileSide && WideTile::kTokens == kTileSide,
              "as route_plan.h says");

struct WarpPlace {
  int32_t expert = 0;  // of the tile
  int32_t token = 0;
  int32_t col = 0;
};
template <typename T>
__device__ __forceinline__ WarpPlace warp_place() {
  const auto warp = static_cast<int32_t>(threadIdx.x / 32);
  return {warp % T::kExpertWarps * kWarpExperts,
          warp / T::kExpertWarps % T::kTokenWarps * T::kWarpTokens,
          warp / (T::kExpertWarps * T::kTokenWarps) * kChunkCols};
}

// --- Loads: columns [col, col + kCols), zeros from `end` on
// ----------------------------------------
template <typename T>
__device__ __forceinline__ void load_weights(const RouteParams& p, int32_t col, int32_t end,
                                             typename T::Stage& stage) {
  constexpr int32_t kPieces = T::kCols / 4;
#pragma unroll
  for (int32_t i = 0; i < T::kExperts * kPieces / T::kThreads; ++i) {
    const int32_t piece = static_cast<int32_t>(threadIdx.x) + i * T::kThreads;
    const int32_t row = piece / kPieces;
    const int32_t at = piece % kPieces * 4;
    const int32_t expert = static_cast<int32_t>(blockIdx.y) * T::kExperts + row;
    const bool there = expert < p.num_experts && col + at < end;
    const float* const from = p.weight + (there ? int64_t{expert} * p.hidden + col + at : 0);
    device::copy_async_16(device::shared_address(&stage.w[row][at]), from, there);
  }
}

template <typename T>
__device__ __forceinline__ void load_tokens(const RouteParams& p, int32_t col, int32_t end,
                                            typename T::Stage& stage) {
  constexpr int32_t kPieces = T::kCols / 8;
#pragma unroll
  for (int32_t i = 0; i < T::kTokens * kPieces / T::kThreads; ++i) {
    const int32_t piece = static_cast<int32_t>(threadIdx.x) + i * T::kThreads;
    const int32_t row = piece / kPieces;
    const int32_t at = piece % kPieces * 8;
    const int32_t token = static_cast<int32_t>(blockIdx.z) * T::kTokens + row;
    const bool there = token < p.num_tokens && col + at < end;
    const uint16_t* const from =
        static_cast<const uint16_t*>(p.x) + (there ? int64_t{token} * p.hidden + col + at : 0);
    device::copy_async_16(device::shared_address(&stage.x[row][at]), from, there);
  }
}

template <typename T>
__device__ __forceinline__ void multiply_stage(const typename T::Stage& stage,
                                               const WarpPlace& place, typename T::Sums& sums) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const int32_t col = place.col + lane % 4 * kLaneCols;
  uint4 x[T::kTokenTiles];
#pragma unroll
  for (int32_t t = 0; t < T::kTokenTiles; ++t) {
    const uint16_t* const at = &stage.x[place.token + t * kMmaTokens + lane / 4][col];
    x[t] = *reinterpret_cast<const uint4*>(at);
  }
#pragma unroll
  for (int32_t e = 0; e < kWarpExpertTiles; ++e) {
    LaneWeights weights;
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const float* const at = &stage.w[place.expert + e * kMmaExperts + half * 8 + lane / 4][col];
      weights.w[half][0] = *reinterpret_cast<const float4*>(at);
      weights.w[half][1] = *reinterpret_cast<const float4*>(at + 4);
    }
    multiply_chunk<T::kTokenTiles>(weights, x, sums[e]);
  }
}

// Tensor cores cut what falls off a sum, so no sum takes more than so many stages' products before
// it is added, rounded, to those before.
constexpr int32_t kStagesASum = 8;

template <int kTokenTiles>
__device__ __forceinline__ void add_up(WarpSums<kTokenTiles>& sums, WarpSums<kTokenTiles>& totals) {
#pragma unroll
  for (int32_t e = 0; e < kWarpExpertTiles; ++e) {
#pragma unroll
    for (int32_t t = 0; t < kTokenTiles; ++t) {
#pragma unroll
      for (int32_t i = 0; i < 4; ++i) {
        totals[e][t][i] += sums[e][t][i];
        sums[e][t][i] = 0;
      }
    }
  }
}

// The warp's sums over the split's columns. The ring is free again after a barrier.
template <typename T>
__device__ __forceinline__ void sum_split(const RouteParams& p, int32_t begin, int32_t end,
                                          const WarpPlace& place, typename T::Stage* ring,
                                          typename T::Sums& totals) {
  const int32_t num_steps = (end - begin + T::kCols - 1) / T::kCols;  // none where begin > end
#pragma unroll 1
  for (int32_t step = 0; step < T::kStages; ++step) {
    load_weights<T>(p, begin + step * T::kCols, end, ring[step]);
  }
  device::wait_for_inputs();
#pragma unroll 1
  for (int32_t step = 0; step < T::kStages; ++step) {
    load_tokens<T>(p, begin + step * T::kCols, end, ring[step]);
    device::copy_async_commit();
  }
  typename T::Sums sums = {};
  int32_t slot = 0;
  for (int32_t step = 0; step < num_steps; ++step) {
    if (step == 0) {
      device::copy_async_wait<T::kStages - 1>();
    } else {
      device::copy_async_wait<T::kStages - 2>();
    }
    __syncthreads();
    if (step > 0) {  // everybody is done with the stage before
      const int32_t free_slot = (slot == 0 ? T::kStages : slot) - 1;
      const int32_t col = begin + (step - 1 + T::kStages) * T::kCols;
      if (col < end) {
        load_weights<T>(p, col, end, ring[free_slot]);
        load_tokens<T>(p, col, end, ring[free_slot]);
      }
      device::copy_async_commit();
    }
    multiply_stage<T>(ring[slot], place, sums);
    slot = slot + 1 == T::kStages ? 0 : slot + 1;
    if (step % kStagesASum == kStagesASum - 1) add_up<T::kTokenTiles>(sums, totals);
  }
  add_up<T::kTokenTiles>(sums, totals);
  device::copy_async_wait<0>();
}

// put(expert, token, sum), both of the tile.
template <int kTokenTiles, typename Put>
__device__ __forceinline__ void put_sums(const WarpSums<kTokenTiles>& sums, const WarpPlace& place,
                                         const Put& put) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
#pragma unroll
  for (int32_t e = 0; e < kWarpExpertTiles; ++e) {
#pragma unroll
    for (int32_t t = 0; t < kTokenTiles; ++t) {
#pragma unroll
      for (int32_t i = 0; i < 4; ++i) {
        put(place.expert + e * kMmaExperts + i / 2 * 8 + lane / 4,
            place.token + t * kMmaTokens + lane % 4 * 2 + i % 2, sums[e][t][i]);
      }
    }
  }
}

// --- Kernels: grid [splits, ceil(E / kExperts), ceil(T / kTokens)], then grid [T / kRouteWarps]
// ----
__global__ void __launch_bounds__(WideTile::kThreads, 1)
    tile_kernel(const __grid_constant__ RouteWork work) {
  extern __shared__ __align__(16) uint8_t memory[];
  const RouteParams& p = work.route;
  const int32_t begin = static_cast<int32_t>(blockIdx.x) * work.cut.split_cols;
  const int32_t end = min(begin + work.cut.split_cols, p.hidden);
  const WarpPlace place = warp_place<WideTile>();
  device::let_next_start();
  WideTile::Sums totals = {};
  sum_split<WideTile>(p, begin, end, place, reinterpret_cast<WideTile::Stage*>(memory), totals);
  const int32_t first_expert = static_cast<int32_t>(blockIdx.y) * WideTile::kExperts;
  const int32_t first_token = static_cast<int32_t>(blockIdx.z) * WideTile::kTokens;
  float* const out = work.scores + int64_t{blockIdx.x} * p.num_tokens * p.num_experts;
  put_sums<WideTile::kTokenTiles>(totals, place, [&](int32_t e, int32_t t, float sum) {
    const int32_t expert = first_expert + e;
    const int32_t token = first_token + t;
    if (expert >= p.num_experts || token >= p.num_tokens) return;
    out[int64_t{token} * p.num_experts + expert] = sum;
  });
}

__global__ void __launch_bounds__(kRouteThreads)
    select_kernel(const __grid_constant__ RouteWork work) {
  extern __shared__ __align__(16) uint8_t memory[];
  device::let_next_start();
  device::wait_for_inputs();
  const int32_t first = static_cast<int32_t>(blockIdx.x) * kRouteWarps;
  select_experts(work.route, PartialScores{work.scores, work.cut.splits}, first,
                 min(kRouteWarps, work.route.num_tokens - first), reinterpret_cast<float*>(memory));
}

// Groups have two experts or more.
constexpr int64_t kSelectSharedMax =
    int64_t{kRouteWarps} * (2 * kRouteExpertsMax + kRouteExpertsMax / 2) * 4;

uint32_t ceil_div(int32_t a, int32_t b) { return static_cast<uint32_t>((a + b - 1) / b); }

}  // namespace

void prepare_tile() {
  allow_shared(tile_kernel, WideTile::kRingBytes);
  allow_shared(select_kernel, kSelectSharedMax);
}

void launch_tiles(const RouteWork& work, cudaStream_t stream) {
  const RouteParams& p = work.route;
  CHECK_EQ(work.cut.tokens_a_block, WideTile::kTokens);
  CHECK_EQ(work.cut.experts_a_block, WideTile::kExperts);
  const dim3 grid(static_cast<uint32_t>(work.cut.splits),
                  ceil_div(p.num_experts, WideTile::kExperts),
                  ceil_div(p.num_tokens, WideTile::kTokens));
  launch(tile_kernel, {grid, dim3(WideTile::kThreads), WideTile::kRingBytes}, stream, work);
  const int64_t bytes =
      has_few_experts(p) ? 0 : select_shared_floats(p.num_experts, p.num_groups) * 4;
  launch(select_kernel, {dim3(ceil_div(p.num_tokens, kRouteWarps)), dim3(kRouteThreads), bytes},
         stream, work);
}

}  // namespace mimo::kernels::cuda::router
