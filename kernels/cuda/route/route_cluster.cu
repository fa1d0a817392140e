#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product/cluster.cuh"
#include "kernels/cuda/route/route_finish.cuh"
#include "kernels/cuda/route/route_kernels.h"
#include "kernels/cuda/route/weight_parts.h"
#include "kernels/cuda/route/wgmma_parts.cuh"
#include "kernels/device/cp_async.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/wgmma.cuh"

namespace mimo::kernels::cuda::router {
namespace {

// --- Tile -------------------------------------------------------------------------------------
// A block has kClusterExperts experts, kTokens tokens and kCols columns: each of its two
// warpgroups half of the columns, each warp 16 of the experts. The columns' cuts lie beside each
// other in clusters, whose blocks add up each its share of the tile.
constexpr int32_t kGroups = 2;
constexpr int32_t kGroupWarps = 4;
constexpr int32_t kGroupThreads = kGroupWarps * 32;
constexpr int32_t kWarpExperts = kClusterExperts / kGroupWarps;
constexpr int32_t kSliceCols = 64;  // of the tokens, in rows of 128 bytes
constexpr int32_t kStepCols = 16;   // of a product
constexpr int32_t kSliceSteps = kSliceCols / kStepCols;
constexpr int32_t kTogether = 2;          // tokens that a block selects for at once
constexpr int32_t kPieceBytes = 32 * 16;  // sums of 16 experts and eight tokens, four a lane
static_assert(kRouteThreads == kGroups * kGroupThreads && kWarpExperts == 16);

template <int kTokenTiles_>
struct ClusterTile {
  static constexpr int kTokenTiles = kTokenTiles_;  // of eight tokens
  static constexpr int kCols = kClusterCols;
  static constexpr int kTokens = kTokenTiles * 8;
  static constexpr int kSums = kTokenTiles * 4;  // a thread's
  static constexpr int kGroupCols = kCols / kGroups;
  static constexpr int kSlices = kGroupCols / kSliceCols;  // a warpgroup's
  static constexpr int kSteps = kGroupCols / kStepCols;
  static constexpr int kPieces = kTokenTiles * kGroupWarps / kClusterBlocks;  // a block adds up
  static constexpr int kWeightPitch = kGroupCols + 8;  // half warps that read pairs meet all banks
  static constexpr int kWarpWeights = kWarpExperts * kWeightPitch;
  static constexpr int64_t kSliceBytes = int64_t{kTokens} * kSliceCols * 2;
  static constexpr int64_t kWeightsAt = kGroups * kSlices * kSliceBytes;
  static constexpr int64_t kSumsAt = kWeightsAt + int64_t{kRouteWarps} * kWarpWeights * 4;
  static constexpr int64_t kSumsBytes = int64_t{kPieces} * kClusterBlocks * kPieceBytes;
  static constexpr int64_t kBiasAt = kSumsAt + kSumsBytes;
  static constexpr int64_t kBarrierAt = kBiasAt + kRouteThreads * 4;
  static constexpr int64_t kAlignment = 1024;
  static constexpr int64_t kBytes = kBarrierAt + 16 + kAlignment;
  static_assert(kSliceBytes % kAlignment == 0 && kPieces >= 1);
  static_assert(kTokenTiles % kGroups == 0, "each warpgroup sends half of the tiles");
  static_assert(kWarpWeights * 4 >= kTokenTiles / kGroups * kPieceBytes);
  // The plan is made where tokens and weights were.
  static_assert(kSumsAt >=
                plan_shared_bytes(kSplitTokensMax, int64_t{kSplitTokensMax} * kChosenMax));
};

struct Place {
  int32_t warp = 0;
  int32_t lane = 0;
  int32_t group = 0;   // warpgroup
  int32_t expert = 0;  // the warp's first
  int32_t token = 0;   // the block's first
  int32_t col = 0;     // the warpgroup's first
  int32_t end = 0;     // of the block's columns
};
template <typename T>
__device__ __forceinline__ Place place_of(const RouteWork& work) {
  Place out;
  // The same in all lanes, and known to be.
  out.warp = __shfl_sync(~0u, static_cast<int32_t>(threadIdx.x / 32), 0);
  out.lane = static_cast<int32_t>(threadIdx.x % 32);
  out.group = out.warp / kGroupWarps;
  out.expert =
      static_cast<int32_t>(blockIdx.y) * kClusterExperts + out.warp % kGroupWarps * kWarpExperts;
  out.token = static_cast<int32_t>(blockIdx.z) * T::kTokens;
  const int32_t begin = static_cast<int32_t>(blockIdx.x) * work.cut.split_cols;
  out.col = begin + out.group * T::kGroupCols;
  out.end = min(begin + work.cut.split_cols, work.route.hidden);
  return out;
}

// --- Loads: zeros outside ---------------------------------------------------------------------
template <typename T>
__device__ __forceinline__ void load_weights(const RouteParams& p, const Place& place,
                                             uint32_t to) {
  constexpr int32_t kWarpCols = 32 * 4;  // that a warp asks for at once
  const int32_t col = place.col + place.lane * 4;
#pragma unroll 4
  for (int32_t row = 0; row < kWarpExperts; ++row) {
    const int32_t expert = place.expert + row;
    const uint32_t row_at = to + (row * T::kWeightPitch + place.lane * 4) * 4;
#pragma unroll
    for (int32_t c = 0; c < T::kGroupCols; c += kWarpCols) {
      const bool there = expert < p.num_experts && col + c < place.end;
      const float* const from = p.weight + (there ? int64_t{expert} * p.hidden + col + c : 0);
      device::copy_async_16(row_at + c * 4, from, there);
    }
  }
  device::copy_async_commit();
}

// The warpgroup's slices, one group of copies each, swizzled as operand_128b() says.
template <typename T>
__device__ __forceinline__ void load_tokens(const RouteParams& p, const Place& place,
                                            uint32_t slices) {
  constexpr int32_t kRowPieces = kSliceCols / 8;
  constexpr int32_t kRows = kGroupThreads / kRowPieces;  // that a warpgroup asks for at once
  const auto thread = static_cast<int32_t>(threadIdx.x % kGroupThreads);
  const int32_t piece = thread % kRowPieces;
  const int32_t row = thread / kRowPieces;
  const auto* const x = static_cast<const uint16_t*>(p.x);
  const uint32_t to = slices + row * 128 + (piece ^ row % 8) * 16;
#pragma unroll
  for (int32_t s = 0; s < T::kSlices; ++s) {
    const int32_t col = place.col + s * kSliceCols + piece * 8;
#pragma unroll
    for (int32_t r = 0; r < T::kTokens; r += kRows) {
      const int32_t token = place.token + row + r;
      const bool there = token < p.num_tokens && col < place.end;
      const uint16_t* const from = x + (there ? token * p.hidden + col : 0);
      device::copy_async_16(to + static_cast<uint32_t>(s * T::kSliceBytes) + r * 128, from, there);
    }
    device::copy_async_commit();
  }
}

// --- Products ---------------------------------------------------------------------------------
// A step's weights in their parts, as the tensor cores take them: mma.cuh's a.
using Parts = uint32_t[kWeightParts][4];

// weights: the lane's first.
template <typename T>
__device__ __forceinline__ void cut_weights(const float* weights, int32_t step, Parts& out) {
  const float* const at = weights + step * kStepCols;
  float2 pairs[4];
#pragma unroll
  for (int32_t i = 0; i < 4; ++i) {
    pairs[i] = *reinterpret_cast<const float2*>(at + i % 2 * 8 * T::kWeightPitch + i / 2 * 8);
  }
#pragma unroll
  for (int32_t i = 0; i < 4; ++i) {
    uint32_t parts[kWeightParts];
    split_pair(pairs[i].x, pairs[i].y, parts);
#pragma unroll
    for (int32_t part = 0; part < kWeightParts; ++part) out[part][i] = parts[part];
  }
}

// totals += the sums of the block's tile over the warpgroup's columns. weights: the lane's first;
// those of step 0 are cut. The tensor cores have two steps to do while one is cut, and the other
// warpgroup's while this one adds up.
template <typename T>
__device__ __forceinline__ void sum_columns(const Place& place, const float* weights,
                                            uint32_t slices, Parts (&parts)[kSliceSteps],
                                            float (&totals)[T::kSums]) {
  uint64_t operand = device::operand_128b(slices);
  float sums[T::kSums] = {};
#pragma unroll 1
  for (int32_t slice = 0; slice < T::kSlices; ++slice) {
    wait_for_copies<T::kSlices>(slice);
    device::fence_shared_for_async();
    product::part_barrier(1 + place.group, kGroupThreads);
#pragma unroll
    for (int32_t i = 0; i < kSliceSteps; ++i) {
      multiply_parts(sums, parts[i], operand, slices, i, i > 0);
      Parts& next = parts[(i + 1) % kSliceSteps];
      wait_but_newest<2>(next);
      const int32_t step = slice * kSliceSteps + i + 1;
      if (step < T::kSteps) cut_weights<T>(weights, step, next);
    }
    // Tensor cores cut what falls off, so no sum there takes more than a slice.
    wait_for_sums(sums);
#pragma unroll
    for (int32_t i = 0; i < T::kSums; ++i) totals[i] += sums[i];
    slices += static_cast<uint32_t>(T::kSliceBytes);
    operand += static_cast<uint64_t>(T::kSliceBytes >> 4);
  }
}

// --- Sums between blocks ----------------------------------------------------------------------
// Both warpgroups' sums, each of half of the tiles, to the blocks that add them up. A piece is a
// tile's sums of a warp; block b has pieces b kPieces ...
template <typename T>
__device__ __forceinline__ void send_sums(const Place& place, const float (&totals)[T::kSums],
                                          uint8_t* memory, uint32_t rank) {
  constexpr int32_t kHalf = T::kTokenTiles / kGroups;
  const auto buffer = [&](int32_t warp) {
    return reinterpret_cast<float4*>(memory + T::kWeightsAt + warp * T::kWarpWeights * 4) +
           place.lane;
  };
  __syncwarp();  // all lanes have read the weights
#pragma unroll
  for (int32_t j = 0; j < kHalf; ++j) {
    float4 sent;
    float* const out = &sent.x;
#pragma unroll
    for (int32_t i = 0; i < 4; ++i) {
      out[i] = place.group == 0 ? totals[(kHalf + j) * 4 + i] : totals[j * 4 + i];
    }
    buffer(place.warp)[j * 32] = sent;
  }
  __syncthreads();
  const float4* const other = buffer(place.warp ^ kGroupWarps);
  const uint32_t base = device::shared_address(memory);
#pragma unroll
  for (int32_t j = 0; j < kHalf; ++j) {
    const float4 added = other[j * 32];
    float kept[4];
#pragma unroll
    for (int32_t i = 0; i < 4; ++i) {
      kept[i] = place.group == 0 ? totals[j * 4 + i] : totals[(kHalf + j) * 4 + i];
    }
    const int32_t piece = (place.group * kHalf + j) * kGroupWarps + place.warp % kGroupWarps;
    const auto to = static_cast<uint32_t>(piece / T::kPieces);
    const uint32_t at = base + static_cast<uint32_t>(T::kSumsAt) +
                        ((piece % T::kPieces * kClusterBlocks + rank) * 32 + place.lane) * 16;
    const uint32_t barrier = base + static_cast<uint32_t>(T::kBarrierAt);
    product::send(product::address_in(at, to), kept[0] + added.x, kept[1] + added.y,
                  kept[2] + added.z, kept[3] + added.w, product::address_in(barrier, to));
  }
}

// The cluster's sums of this block's pieces, in the order of the columns, into the box.
template <typename T>
__device__ __forceinline__ void put_sums(const RouteWork& work, const Place& place,
                                         const uint8_t* memory, uint32_t rank) {
  product::wait_parity_cluster(
      device::shared_address(memory) + static_cast<uint32_t>(T::kBarrierAt), 0);
  const auto box = static_cast<int32_t>(blockIdx.x) / kClusterBlocks;
#pragma unroll 1
  for (int32_t i = place.warp; i < T::kPieces; i += kRouteWarps) {
    const auto* const from =
        reinterpret_cast<const float4*>(memory + T::kSumsAt) + i * kClusterBlocks * 32 + place.lane;
    float4 total = from[0];
#pragma unroll
    for (int32_t b = 1; b < kClusterBlocks; ++b) {
      const float4 part = from[b * 32];
      total.x += part.x;
      total.y += part.y;
      total.z += part.z;
      total.w += part.w;
    }
    const int32_t piece = static_cast<int32_t>(rank) * T::kPieces + i;
    const int32_t token = place.token + piece / kGroupWarps * 8 + place.lane % 4 * 2;
    const int32_t expert = static_cast<int32_t>(blockIdx.y) * kClusterExperts +
                           piece % kGroupWarps * kWarpExperts + place.lane / 4;
    const float sums[4] = {total.x, total.y, total.z, total.w};
#pragma unroll
    for (int32_t c = 0; c < 4; ++c) {
      const int32_t t = token + c % 2;
      const int32_t e = expert + c / 2 * 8;
      if (t >= work.route.num_tokens || e >= work.route.num_experts) continue;
      put(box_scores(work, t, box, e), score_word(sums[c]));
    }
  }
}

// --- Kernel: grid [clusters x kClusterBlocks, ceil(E / kClusterExperts), ceil(T / kTokens)] -----
// The weights come in before the inputs are there.
template <typename T>
__global__ void __launch_bounds__(kRouteThreads, 1)
    cluster_kernel(const __grid_constant__ RouteWork work) {
  extern __shared__ __align__(16) uint8_t shared[];
  const uint32_t start = device::shared_address(shared);
  uint8_t* const memory = shared + ((start + 1023) & ~1023u) - start;
  const uint32_t base = device::shared_address(memory);
  const RouteParams& p = work.route;
  const Place place = place_of<T>(work);
  const auto rank = static_cast<uint32_t>(blockIdx.x % kClusterBlocks);
  if (threadIdx.x == 0) {
    const uint32_t barrier = base + static_cast<uint32_t>(T::kBarrierAt);
    device::init_barrier(barrier, 1);
    device::fence_barriers();
    device::arrive_expecting(barrier, static_cast<uint32_t>(T::kSumsBytes));
  }
  __syncwarp();
  product::cluster_arrive();
  device::let_next_start();
  float* const warp_weights =
      reinterpret_cast<float*>(memory + T::kWeightsAt) + place.warp * T::kWarpWeights;
  load_weights<T>(p, place, device::shared_address(warp_weights));
  start_finish(work, memory + T::kBiasAt);
  ask_for_experts(work);
  const float* const weights = warp_weights + place.lane / 4 * T::kWeightPitch + place.lane % 4 * 2;
  device::copy_async_wait<0>();
  __syncwarp();
  Parts parts[kSliceSteps];
  cut_weights<T>(weights, 0, parts[0]);
  device::wait_for_inputs();

  const uint32_t slices = base + static_cast<uint32_t>(place.group * T::kSlices * T::kSliceBytes);
  load_tokens<T>(p, place, slices);
  auto runs = find_run<kTogether>(work);
  float totals[T::kSums] = {};
  sum_columns<T>(place, weights, slices, parts, totals);
  find_context(work, runs);
  product::cluster_wait();
  send_sums<T>(place, totals, memory, rank);
  put_sums<T>(work, place, memory, rank);
  finish<kClusterBoxesMax, ManyPairs>(work, runs, reinterpret_cast<float*>(memory + T::kBiasAt),
                                      memory);
}

using Tile32 = ClusterTile<4>;
using Tile64 = ClusterTile<8>;

template <typename T>
void launch_for(const RouteWork& work, cudaStream_t stream) {
  const RoutePlan& cut = work.cut;
  CHECK_EQ(cut.tokens_a_block, T::kTokens);
  CHECK_LE(cut.split_cols, kClusterCols);
  CHECK_LE(cut.boxes, kClusterBoxesMax);
  const int32_t columns = cut.boxes * kClusterBlocks;
  const int32_t expert_blocks = (work.route.num_experts + kClusterExperts - 1) / kClusterExperts;
  const dim3 grid(static_cast<uint32_t>(columns), static_cast<uint32_t>(expert_blocks),
                  static_cast<uint32_t>(cut.num_blocks / (columns * expert_blocks)));
  launch(cluster_kernel<T>, {grid, dim3(kRouteThreads), T::kBytes, kClusterBlocks}, stream, work);
}

// Blocks that are there at the same time, whatever cluster they belong to.
template <typename T>
int32_t prepare() {
  allow_shared(cluster_kernel<T>, T::kBytes);
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {kClusterBlocks, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(kClusterBlocks);
  config.blockDim = dim3(kRouteThreads);
  config.dynamicSmemBytes = T::kBytes;
  config.attrs = &attribute;
  config.numAttrs = 1;
  int num_clusters = 0;
  CUDA_CHECK(cudaOccupancyMaxActiveClusters(&num_clusters, cluster_kernel<T>, &config));
  return num_clusters * kClusterBlocks;
}

}  // namespace

int32_t prepare_cluster() { return std::min(prepare<Tile32>(), prepare<Tile64>()); }

void launch_cluster(const RouteWork& work, cudaStream_t stream) {
  if (work.cut.tokens_a_block == Tile32::kTokens) return launch_for<Tile32>(work, stream);
  launch_for<Tile64>(work, stream);
}

}  // namespace mimo::kernels::cuda::router
