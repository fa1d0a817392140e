#include <algorithm>
#include <type_traits>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/route/route_finish.cuh"
#include "kernels/cuda/route/route_kernels.h"
#include "kernels/cuda/route/score_mma.cuh"
#include "kernels/device/cp_async.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"

namespace mimo::kernels::cuda::router {
namespace {

// --- Tile -------------------------------------------------------------------------------------
// A warp has kExpertTiles x 16 experts and two chunks of 32 columns of every kStepCols.
constexpr int32_t kChunks = 2;
constexpr int32_t kChunkStep = kRouteWarps * kChunkCols;
constexpr int32_t kStepCols = kChunks * kChunkStep;

template <int kTokenTiles_, int kExpertTiles_>
struct SplitTile {
  static constexpr int kTokenTiles = kTokenTiles_;
  static constexpr int kExpertTiles = kExpertTiles_;
  static constexpr int kExperts = kExpertTiles * kMmaExperts;
  static constexpr int kTokens = kTokenTiles * kMmaTokens;
  static constexpr bool kCutsEarly = kExpertTiles == 1;
  static constexpr int kPitch = kExperts + 4;  // a warp's stores meet every bank once
  static constexpr int kPutAtOnce = std::clamp(kTokens * kExperts / kRouteThreads, 1, 4);

  // A warp's own. As lanes read them: two pieces of each of two experts.
  using Weights = float4[kChunks][kExpertTiles][4][32];
  // The sums lie where the weights were.
  using Sums = float[kTokens][kPitch];
  static constexpr int64_t kWarpBytes = std::max(sizeof(Sums), sizeof(Weights));
  static constexpr int64_t kBytes = kRouteWarps * kWarpBytes;

  static __device__ __forceinline__ Weights& weights(uint8_t* memory, int32_t warp) {
    return *reinterpret_cast<Weights*>(memory + warp * kWarpBytes);
  }
  static __device__ __forceinline__ Sums& sums(uint8_t* memory, int32_t warp) {
    return *reinterpret_cast<Sums*>(memory + warp * kWarpBytes);
  }
};

struct Place {
  int32_t expert = 0;  // the block's first
  int32_t token = 0;
  int32_t col = 0;  // of the warp's first chunk
  int32_t end = 0;  // of the columns
};
template <typename T>
__device__ __forceinline__ Place warp_place(const RouteWork& work) {
  const auto warp = static_cast<int32_t>(threadIdx.x / 32);
  const int32_t begin = static_cast<int32_t>(blockIdx.x) * work.cut.split_cols;
  return {static_cast<int32_t>(blockIdx.y) * T::kExperts,
          static_cast<int32_t>(blockIdx.z) * T::kTokens, begin + warp * kChunkCols,
          min(begin + work.cut.split_cols, work.route.hidden)};
}

// --- Loads: zeros outside ---------------------------------------------------------------------
// A warp's chunks of weights from column `col` on. A copy has whole rows of a chunk.
template <typename T>
__device__ __forceinline__ void load_weights(const RouteParams& p, const Place& place, int32_t col,
                                             typename T::Weights& weights) {
  constexpr int32_t kRowPieces = kChunkCols / 4;
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const int32_t piece = lane % kRowPieces;
#pragma unroll
  for (int32_t chunk = 0; chunk < kChunks; ++chunk) {
    const int32_t from_col = col + chunk * kChunkStep + piece * 4;
#pragma unroll
    for (int32_t i = 0; i < T::kExpertTiles * 4; ++i) {
      const int32_t row = i * (32 / kRowPieces) + lane / kRowPieces;
      const int32_t expert = place.expert + row;
      const bool there = expert < p.num_experts && from_col < place.end;
      const float* const from = p.weight + (there ? int64_t{expert} * p.hidden + from_col : 0);
      float4* const to =
          &weights[chunk][row / 16][row / 8 % 2 * 2 + piece % 2][row % 8 * 4 + piece / 2];
      device::copy_async_16(device::shared_address(to), from, there);
    }
  }
  device::copy_async_commit();
}

template <typename T>
__device__ __forceinline__ void load_tokens(const RouteParams& p, const Place& place, int32_t col,
                                            uint4 (&x)[T::kTokenTiles]) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const int32_t from_col = col + lane % 4 * kLaneCols;
  const int32_t first = place.token + lane / 4;
  // kSplitTokensMax rows: 32 bits are enough.
  const uint16_t* const from = static_cast<const uint16_t*>(p.x);
  const int32_t tokens_left = from_col < place.end ? p.num_tokens - first : 0;
  const int32_t begin = first * p.hidden + from_col;
#pragma unroll
  for (int32_t t = 0; t < T::kTokenTiles; ++t) {
    x[t] = {0, 0, 0, 0};
    if (t * kMmaTokens >= tokens_left) continue;
    x[t] = *reinterpret_cast<const uint4*>(from + begin + t * kMmaTokens * p.hidden);
  }
}

// --- Steps ------------------------------------------------------------------------------------
template <typename T>
using WarpSums = float[T::kExpertTiles][T::kTokenTiles][4];

// Where there are registers, weights are cut into their parts before the inputs are there.
template <typename T>
struct CutWeights {
  uint32_t a[T::kCutsEarly ? kChunks : 1][2][kWeightParts][4];
};

template <typename T>
__device__ __forceinline__ LaneWeights lane_weights(const typename T::Weights& weights,
                                                    int32_t chunk, int32_t e) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  LaneWeights out;
#pragma unroll
  for (int32_t half = 0; half < 2; ++half) {
    out.w[half][0] = weights[chunk][e][half * 2][lane];
    out.w[half][1] = weights[chunk][e][half * 2 + 1][lane];
  }
  return out;
}

template <typename T>
__device__ __forceinline__ void cut_weights(const typename T::Weights& weights,
                                            CutWeights<T>& out) {
  device::copy_async_wait<0>();
  __syncwarp();
#pragma unroll
  for (int32_t chunk = 0; chunk < kChunks; ++chunk) {
    const LaneWeights mine = lane_weights<T>(weights, chunk, 0);
#pragma unroll
    for (int32_t step = 0; step < 2; ++step) cut_step(mine, step, out.a[chunk][step]);
  }
}

// Of chunks cut early. Few tokens have few sums, so each part gets its own: products that wait for
// each other take longer than sums.
template <typename T>
__device__ __forceinline__ void multiply_cut(const CutWeights<T>& weights,
                                             const uint4 (&x)[kChunks][T::kTokenTiles],
                                             WarpSums<T>& sums) {
  constexpr int32_t kApart = T::kTokenTiles <= 2 ? kWeightParts : 1;
  float apart[kApart][T::kTokenTiles][4] = {};
#pragma unroll
  for (int32_t chunk = 0; chunk < kChunks; ++chunk) {
#pragma unroll
    for (int32_t step = 0; step < 2; ++step) {
#pragma unroll
      for (int32_t part = kWeightParts - 1; part >= 0; --part) {
        multiply_step<T::kTokenTiles>(weights.a[chunk][step][part], x[chunk], step,
                                      apart[part % kApart]);
      }
    }
  }
#pragma unroll
  for (int32_t t = 0; t < T::kTokenTiles; ++t) {
#pragma unroll
    for (int32_t i = 0; i < 4; ++i) {
      float sum = apart[kApart - 1][t][i];
#pragma unroll
      for (int32_t part = kApart - 2; part >= 0; --part) sum += apart[part][t][i];
      sums[0][t][i] += sum;
    }
  }
}

// The warp's sums over its columns. The first step's weights have been asked for, and cut where
// they are cut early.
template <typename T>
__device__ __forceinline__ void sum_columns(const RouteParams& p, const Place& place,
                                            typename T::Weights& weights, CutWeights<T>& cut,
                                            WarpSums<T>& sums) {
#pragma unroll 1
  for (int32_t col = place.col; col < place.end; col += kStepCols) {
    uint4 x[kChunks][T::kTokenTiles];
    load_tokens<T>(p, place, col, x[0]);
    load_tokens<T>(p, place, col + kChunkStep, x[1]);
    const bool loaded = col == place.col;
    if (!loaded) load_weights<T>(p, place, col, weights);
    if constexpr (T::kCutsEarly) {
      if (!loaded) cut_weights<T>(weights, cut);
      multiply_cut<T>(cut, x, sums);
    } else {
      device::copy_async_wait<0>();
      __syncwarp();
#pragma unroll
      for (int32_t chunk = 0; chunk < kChunks; ++chunk) {
#pragma unroll
        for (int32_t e = 0; e < T::kExpertTiles; ++e) {
          const LaneWeights mine = lane_weights<T>(weights, chunk, e);
          multiply_chunk<T::kTokenTiles>(mine, x[chunk], sums[e]);
        }
      }
    }
    __syncwarp();  // all lanes have read the weights
  }
}

// As mma.cuh lays sums out.
template <typename T>
__device__ __forceinline__ void leave_sums(const WarpSums<T>& sums, typename T::Sums& to) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
#pragma unroll
  for (int32_t e = 0; e < T::kExpertTiles; ++e) {
#pragma unroll
    for (int32_t t = 0; t < T::kTokenTiles; ++t) {
#pragma unroll
      for (int32_t i = 0; i < 4; ++i) {
        to[t * kMmaTokens + lane % 4 * 2 + i % 2][e * kMmaExperts + i / 2 * 8 + lane / 4] =
            sums[e][t][i];
      }
    }
  }
}

// All warps' sums, over the block's columns, into the box: a thread has some experts of a token at
// a time.
template <typename T>
__device__ __forceinline__ void put_sums(const RouteWork& work, const Place& place,
                                         uint8_t* memory) {
  constexpr int32_t kCount = T::kPutAtOnce;
  constexpr int32_t kPieces = T::kExperts / kCount;
  const int32_t num_experts = work.route.num_experts;
  const auto split = static_cast<int32_t>(blockIdx.x);
#pragma unroll 1
  for (auto i = static_cast<int32_t>(threadIdx.x); i < T::kTokens * kPieces; i += kRouteThreads) {
    const int32_t token = i / kPieces;
    const int32_t first = i % kPieces * kCount;
    float totals[kCount] = {};
#pragma unroll
    for (int32_t c = 0; c < kRouteWarps; ++c) {
      const float* const parts = &T::sums(memory, c)[token][first];
#pragma unroll
      for (int32_t e = 0; e < kCount; ++e) totals[e] += parts[e];
    }
    const int32_t expert = place.expert + first;
    if (place.token + token >= work.route.num_tokens) continue;
    uint32_t* const to = box_scores(work, place.token + token, split, expert);
    if constexpr (kCount == 4) {
      if (expert + 4 <= num_experts) {
        put(to, uint4{score_word(totals[0]), score_word(totals[1]), score_word(totals[2]),
                      score_word(totals[3])});
        continue;
      }
    }
#pragma unroll
    for (int32_t e = 0; e < kCount; ++e) {
      if (expert + e < num_experts) put(to + e, score_word(totals[e]));
    }
  }
}

// --- Kernel: grid [splits, ceil(E / kExperts), ceil(T / tokens_a_block)] -----------------------
// The first step's weights, all of them in most models, come in before the inputs are there.
template <typename T>
__global__ void __launch_bounds__(kRouteThreads, T::kTokenTiles <= 4 ? 2 : 1)
    split_kernel(const __grid_constant__ RouteWork work) {
  extern __shared__ __align__(16) uint8_t memory[];
  const RouteParams& p = work.route;
  const auto warp = static_cast<int32_t>(threadIdx.x / 32);
  const Place place = warp_place<T>(work);
  typename T::Weights& weights = T::weights(memory, warp);
  device::let_next_start();
  load_weights<T>(p, place, place.col, weights);
  start_finish(work, memory + T::kBytes);
  ask_for_experts(work);
  CutWeights<T> cut;
  if constexpr (T::kCutsEarly) cut_weights<T>(weights, cut);
  device::wait_for_inputs();

  WarpSums<T> sums = {};
  sum_columns<T>(p, place, weights, cut, sums);
  FirstRun run = find_run(work);
  device::copy_async_wait<0>();  // of warps without columns, too
  __syncwarp();
  leave_sums<T>(sums, T::sums(memory, warp));
  __syncthreads();
  put_sums<T>(work, place, memory);
  find_context(work, run);
  using Cut = std::conditional_t<(T::kTokens <= 32), FewPairs, ManyPairs>;
  finish<kSplitsMax, Cut>(work, run, memory + T::kBytes);
}

using Tile8 = SplitTile<1, 1>;
using Tile16 = SplitTile<2, 1>;
using Tile32 = SplitTile<4, 1>;
using Tile64 = SplitTile<8, 2>;

template <typename T>
void prepare() {
  allow_shared(split_kernel<T>, T::kBytes + kFinishSharedMax);
}

template <typename T>
void launch_for(const RouteWork& work, cudaStream_t stream) {
  const RoutePlan& cut = work.cut;
  CHECK_EQ(cut.tokens_a_block, T::kTokens);
  CHECK_EQ(cut.experts_a_block, T::kExperts);
  CHECK_LE(cut.splits, kSplitsMax);
  const int32_t expert_blocks = (work.route.num_experts + T::kExperts - 1) / T::kExperts;
  const dim3 grid(static_cast<uint32_t>(cut.splits), static_cast<uint32_t>(expert_blocks),
                  static_cast<uint32_t>(cut.num_blocks / (cut.splits * expert_blocks)));
  launch(split_kernel<T>, {grid, dim3(kRouteThreads), T::kBytes + finish_shared_bytes(work)},
         stream, work);
}

}  // namespace

void prepare_split() {
  prepare<Tile8>();
  prepare<Tile16>();
  prepare<Tile32>();
  prepare<Tile64>();
}

void launch_split(const RouteWork& work, cudaStream_t stream) {
  switch (work.cut.tokens_a_block) {
    case Tile8::kTokens:
      return launch_for<Tile8>(work, stream);
    case Tile16::kTokens:
      return launch_for<Tile16>(work, stream);
    case Tile32::kTokens:
      return launch_for<Tile32>(work, stream);
    default:
      return launch_for<Tile64>(work, stream);
  }
}

}  // namespace mimo::kernels::cuda::router
