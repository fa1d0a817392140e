#include "kernels/cuda/product/swap.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product/cluster.cuh"
#include "kernels/cuda/product/instructions.cuh"
#include "kernels/cuda/product/stream_outputs.cuh"
#include "kernels/cuda/product/swap_args.h"
#include "kernels/cuda/product/swap_inputs.cuh"
#include "kernels/cuda/product/swap_outputs.cuh"
#include "kernels/cuda/product/swap_units.cuh"
#include "kernels/cuda/product/wgmma_few.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/tma.cuh"
#include "kernels/device/wgmma.cuh"

// One thread keeps a ring of 16 KB stages, 128 weight rows by 128 bytes each, filled ahead of two
// warpgroups that multiply 64 rows each, from one unit to the next without a break. A box puts
// those two groups of eight rows behind one another whose results belong together (gate and up, the
// halves of a rotation), so that a thread holds both.
namespace mimo::kernels::cuda::product {
namespace {

// --- Tile: 128 weight rows by kTokens tokens ----------------------------------------------------

template <int kTokens_, bool kFp8_>
struct Tile {
  static constexpr int kTokens = kTokens_;
  static constexpr bool kFp8 = kFp8_;
  static constexpr int kEights = kTokens / 8;
  static constexpr int kSums = kTokens / 2;  // of a thread
};

constexpr int kThreads = kSwapMathThreads + 32;

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int kMathBarrier = 1;  // __syncthreads() is 0

// --- Steps --------------------------------------------------------------------------------------

// The stages in their order, again and again, and which parity the present round's phases have.
struct Ring {
  __device__ Ring(const SwapShape& shape, uint32_t shared)
      : stages(shared), barriers(shared + shape.barriers_at), count(shape.stages) {}
  __device__ __forceinline__ uint32_t stage() const { return stages + at * kSwapStageBytes; }
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

// Of the sums that the other blocks of the cluster send, by which of the two buffers.
__device__ __forceinline__ uint32_t sums_barrier(const SwapShape& shape, uint32_t shared,
                                                 uint32_t buffer) {
  return shared + shape.barriers_at + shape.stages * 16 + buffer * 8;
}

__device__ __forceinline__ void init_barriers(const SwapShape& shape, uint32_t shared) {
  Ring ring(shape, shared);
  for (int32_t s = 0; s < shape.stages; ++s) {
    device::init_barrier(ring.full(), 1);
    device::init_barrier(ring.empty(), kSwapMathWarps);
    ring.advance();
  }
  for (uint32_t buffer = 0; buffer < 2; ++buffer) {
    device::init_barrier(sums_barrier(shape, shared, buffer), 1);
  }
  device::fence_barriers();
}

// One thread, before it is known which matrices have tokens: the L2 is asked for the boxes that are
// this block's first if all have a tile.
__device__ void ask_ahead(const SwapArgs& p) {
  const Slice slice = slice_of(p.shape, slice_of_block(p.shape));
  const int32_t first = units_of_cluster(p, p.guessed_tiles).begin;
  const int32_t end = min(slice.begin + kSwapAskedAhead, slice.end);
  for (int32_t block = slice.begin; block < end; ++block) {
    ask_for_box_5d(p.w_map, block * kColumnBlockBytes,
                   first % p.stream.units_per_tile * (kSwapRows / kStreamRows),
                   first / p.stream.units_per_tile);
  }
}

// One thread: all stages of all units, at most p.window of them on their way.
__device__ void produce(const SwapArgs& p, uint32_t shared, Units units) {
  const Slice slice = slice_of(p.shape, slice_of_block(p.shape));
  const uint64_t policy = evict_first_policy();
  const bool heads = p.stream.out_kind == StreamOut::kQkv;
  Ring ring(p.shape, shared);
  Ring oldest = ring;  // of those on their way
  int32_t on_way = 0;
  int32_t tile_at = -1;
  int32_t expert = 0;
  for (int32_t i = units.begin; i < units.end; ++i) {
    const int32_t tile = i / p.stream.units_per_tile;
    const int32_t unit = i - tile * p.stream.units_per_tile;
    if (tile != tile_at) expert = expert_of(p.stream, tile);
    tile_at = tile;
    const int32_t y = heads ? 0 : unit * (kSwapRows / kStreamRows);
    const int32_t z = heads ? unit * 2 : expert;
    for (int32_t block = slice.begin; block < slice.end; ++block) {
      if (on_way == p.window) {
        device::wait_parity(oldest.full(), oldest.parity);
        oldest.advance();
        --on_way;
      }
      device::wait_parity(ring.empty(), ring.parity ^ 1);
      device::arrive_expecting(ring.full(), kSwapStageBytes);
      load_box_5d(ring.stage(), p.w_map, block * kColumnBlockBytes, y, z, ring.full(), policy);
      ring.advance();
      ++on_way;
    }
  }
}

// Where a warpgroup's operands begin, as wgmma takes them; what lies `bytes` further is at
// operand + (bytes >> 4). Made once, and what is added comes from a shuffle, so that the compiler
// knows it to be the whole warp's: otherwise each product is preceded by some 15 instructions.
struct Operands {
  __device__ __forceinline__ Operands(const SwapShape& shape, uint32_t shared) {
    const uint32_t group = __shfl_sync(~0u, threadIdx.x / 128, 0);
    weights = device::operand_128b(shared + group * (kSwapStageBytes / 2));
    tokens = device::operand_128b(shared + shape.tokens_at);
  }

  uint64_t weights;  // of stage 0
  uint64_t tokens;   // of column block 0
};

// A stage's products: 128 columns by 64 rows of each warpgroup, and the tokens of column block
// `block` of the slice.
template <typename Tile>
__device__ __forceinline__ void start_stage(const Ring& ring, const Operands& operands,
                                            int32_t block, bool first, float (&into)[Tile::kSums]) {
  const uint64_t weights = operands.weights + __shfl_sync(~0u, ring.at, 0) * (kSwapStageBytes >> 4);
  const uint64_t tokens =
      operands.tokens + __shfl_sync(~0u, block, 0) * (Tile::kTokens * kColumnBlockBytes >> 4);
  device::wait_parity(ring.full(), ring.parity);
  device::hold(into);
  device::wgmma_begin();
#pragma unroll
  for (int step = 0; step < kColumnBlockBytes / 32; ++step) {
    const uint64_t a = weights + step * (32 >> 4);
    const uint64_t b = tokens + step * (32 >> 4);
    if constexpr (Tile::kFp8) {
      wgmma_e4m3(into, a, b, step > 0);
    } else {
      wgmma_bf16(into, a, b, step > 0 || !first);
    }
  }
  device::wgmma_commit();
}

// The stage of an `empty` barrier has been multiplied, all but the newest kPending have.
template <int kPending, int kSums>
__device__ __forceinline__ void end_stage(uint32_t empty, float (&into)[kSums]) {
  device::wgmma_wait<kPending>();
  device::hold(into);
  if (threadIdx.x % 32 == 0) device::arrive(empty);
}

// total += sums of a block, scaled.
template <typename Tile>
__device__ __forceinline__ void add_scaled(const float* token_scales, float2 scale,
                                           const float (&sums)[Tile::kSums],
                                           float (&total)[Tile::kSums]) {
#pragma unroll
  for (int n = 0; n < Tile::kEights; ++n) {
    const float2 x = *reinterpret_cast<const float2*>(token_scales + n * 8);
    total[4 * n] += sums[4 * n] * (scale.x * x.x);
    total[4 * n + 1] += sums[4 * n + 1] * (scale.x * x.y);
    total[4 * n + 2] += sums[4 * n + 2] * (scale.y * x.x);
    total[4 * n + 3] += sums[4 * n + 3] * (scale.y * x.y);
  }
}

// kCount column blocks of FP8, all under way at once: one is scaled while the next are multiplied.
template <typename Tile, int kCount>
__device__ __forceinline__ void multiply_blocks(Ring& ring, int32_t block, const Operands& operands,
                                                const float* token_scales, const RowScales& scales,
                                                float (&total)[Tile::kSums]) {
  float sums[kCount][Tile::kSums] = {};
  uint32_t empty[kCount];
#pragma unroll
  for (int b = 0; b < kCount; ++b) {
    start_stage<Tile>(ring, operands, block + b, true, sums[b]);
    empty[b] = ring.empty();
    ring.advance();
  }
  const auto finish = [&]<int b>(std::integral_constant<int, b>) {
    const float2 scale = scales.of(block + b);
    end_stage<kCount - 1 - b>(empty[b], sums[b]);
    add_scaled<Tile>(token_scales + (block + b) * Tile::kTokens, scale, sums[b], total);
  };
  finish(std::integral_constant<int, 0>());
  if constexpr (kCount > 1) finish(std::integral_constant<int, 1>());
  if constexpr (kCount > 2) finish(std::integral_constant<int, 2>());
  if constexpr (kCount > 3) finish(std::integral_constant<int, 3>());
}

// A unit's column blocks.
template <typename Tile>
__device__ __forceinline__ void multiply_unit(Ring& ring, int32_t blocks, const Operands& operands,
                                              const float* token_scales, const RowScales& scales,
                                              float (&total)[Tile::kSums]) {
  int32_t block = 0;
  if constexpr (Tile::kFp8) {
    constexpr int32_t kAtOnce = Tile::kTokens <= 16 ? 4 : 2;
    if (ring.count >= kAtOnce) {
      for (; block + kAtOnce <= blocks; block += kAtOnce) {
        multiply_blocks<Tile, kAtOnce>(ring, block, operands, token_scales, scales, total);
      }
    }
    for (; block < blocks; ++block) {
      multiply_blocks<Tile, 1>(ring, block, operands, token_scales, scales, total);
    }
  } else {
    for (; block < blocks; ++block) {
      start_stage<Tile>(ring, operands, block, block == 0, total);
      end_stage<0>(ring.empty(), total);
      ring.advance();
    }
  }
}

template <typename Tile>
__device__ __forceinline__ void store_tile(const SwapArgs& args, int32_t unit, TokenTile tile,
                                           const float (&total)[Tile::kSums], uint8_t* shared) {
  const StreamArgs& p = args.stream;
  const int32_t lane = threadIdx.x % 32;
  const int32_t sixteen = unit * kSwapMathWarps + static_cast<int32_t>(threadIdx.x / 32);
  if (args.stores_vectors) return store_vectors<Tile::kEights>(args, sixteen, tile, total, shared);
  const RowPair rows = swap_rows(p, sixteen, lane / 4);
#pragma unroll
  for (int n = 0; n < Tile::kEights; ++n) {
    if (n * 8 >= tile.rows) break;
    const float sums[4] = {total[4 * n], total[4 * n + 1], total[4 * n + 2], total[4 * n + 3]};
    store_sums(p, rows, tile, n * 8 + lane % 4 * 2, sums, shared);
  }
}

// Adds up the cluster's slices, in their order, and stores. Block r of the cluster finishes the
// sums of warps [r, r + 1) * 8 / k_split of the unit, which the same warps of all blocks send it;
// all its warps share that work. The `turn`-th unit uses buffer turn % 2. A block sends to a buffer
// again two units later: in between it had to wait for sums that its receiver sent after the
// barrier below, and so after reading. Each block waits for all sums that are sent to it, so that
// nobody sends to one that is gone.
template <typename Tile>
__device__ __forceinline__ void finish_split(const SwapArgs& p, int32_t unit, TokenTile tile,
                                             uint32_t turn, float (&total)[Tile::kSums],
                                             uint8_t* shared) {
  const int32_t k_split = p.shape.k_split;
  const int32_t own = slice_of_block(p.shape);
  const int32_t part = kSwapMathWarps / k_split;
  const int32_t warp = threadIdx.x / 32;
  const int32_t lane = threadIdx.x % 32;
  const int32_t receiver = warp / part;
  const uint32_t buffer = turn % 2;
  const uint32_t base = device::shared_address(shared);
  const uint32_t barrier = sums_barrier(p.shape, base, buffer);
  constexpr int32_t kEightBytes = 32 * 16;
  const int32_t slice_bytes = part * Tile::kEights * kEightBytes;
  const int32_t sums_at = p.shape.sums_at + static_cast<int32_t>(buffer) * k_split * slice_bytes;
  part_barrier(kMathBarrier, kSwapMathThreads);
  if (threadIdx.x == 0) device::arrive_expecting(barrier, k_split * slice_bytes);
  const uint32_t to = address_in(
      base + sums_at + own * slice_bytes + warp % part * Tile::kEights * kEightBytes + lane * 16,
      receiver);
  const uint32_t counted = address_in(barrier, receiver);
#pragma unroll
  for (int n = 0; n < Tile::kEights; ++n) {
    send(to + n * kEightBytes, total[4 * n], total[4 * n + 1], total[4 * n + 2], total[4 * n + 3],
         counted);
  }
  wait_parity_cluster(barrier, turn / 2 % 2);
  for (int32_t i = warp; i < part * Tile::kEights; i += kSwapMathWarps) {
    const int32_t eight = i % Tile::kEights;
    if (eight * 8 >= tile.rows) continue;
    float sums[4] = {};
    for (int32_t slice = 0; slice < k_split; ++slice) {
      const float4 x =
          *shared_part<float4>(shared, sums_at + slice * slice_bytes + i * kEightBytes + lane * 16);
      sums[0] += x.x;
      sums[1] += x.y;
      sums[2] += x.z;
      sums[3] += x.w;
    }
    const int32_t sixteen = unit * kSwapMathWarps + own * part + i / Tile::kEights;
    const RowPair rows = swap_rows(p.stream, sixteen, lane / 4);
    store_sums(p.stream, rows, tile, eight * 8 + lane % 4 * 2, sums, shared);
  }
}

template <typename Tile>
__device__ void multiply(const SwapArgs& p, uint8_t* shared, Units units) {
  const Slice slice = slice_of(p.shape, slice_of_block(p.shape));
  const uint32_t base = device::shared_address(shared);
  // What lies beyond the last unit is not read.
  RowScales scales(p.stream, slice, Tile::kFp8 ? units : Units{});
  device::wait_for_inputs();
  // Not before: the next kernel may count on everything before this one being done.
  device::let_next_start();
  const float* const token_scales =
      shared_part<float>(shared, p.shape.token_scales_at) + threadIdx.x % 4 * 2;
  Ring ring(p.shape, base);
  const Operands operands(p.shape, base);
  const int32_t per_tile = p.stream.units_per_tile;
  int32_t tile_idx = units.begin / per_tile;
  int32_t unit = units.begin - tile_idx * per_tile;
  TileRows<Tile::kTokens> next;
  bool enters = true;  // a tile
  if (units.begin < units.end) {
    next.tile = tokens_of(p.stream, tile_idx);
    next.find_rows(p.stream);
  }
  TokenTile tile = {};
  for (int32_t i = units.begin; i < units.end; ++i) {
    if (enters) {
      part_barrier(kMathBarrier, kSwapMathThreads);  // the tile before is done with
      tile = next.tile;
      load_slice<Tile::kTokens, Tile::kFp8>(p, next, slice, shared);
      part_barrier(kMathBarrier, kSwapMathThreads);
    }
    enters = unit + 1 == per_tile && i + 1 < units.end;
    if (enters) next.tile = tokens_of(p.stream, tile_idx + 1);
    if constexpr (Tile::kFp8) scales.advance(p.stream, i);
    float total[Tile::kSums] = {};
    multiply_unit<Tile>(ring, slice.end - slice.begin, operands, token_scales, scales, total);
    if (enters) next.find_rows(p.stream);
    if (p.shape.k_split == 1) {
      store_tile<Tile>(p, unit, tile, total, shared);
    } else {
      finish_split<Tile>(p, unit, tile, i - units.begin, total, shared);
    }
    if (++unit == per_tile) {
      unit = 0;
      ++tile_idx;
    }
  }
}

#endif

// --- Kernel: grid [clusters x k_split], as many as run at once or fewer -------------------------

template <typename Tile>
__global__ void __launch_bounds__(kThreads, 1) swap_kernel(const __grid_constant__ SwapArgs p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ uint8_t memory[];
  uint8_t* const shared = memory + (1024 - device::shared_address(memory) % 1024) % 1024;
  const uint32_t base = device::shared_address(shared);
  if (threadIdx.x == 0) {
    device::prefetch_map(p.w_map);
    init_barriers(p.shape, base);
  }
  if (p.shape.k_split > 1) {
    // The barriers are known to the cluster: init_barriers().
    __syncwarp();
    cluster_arrive_relaxed();
    cluster_wait();
  } else {
    __syncthreads();
  }
  if (p.guessed_tiles > 0 && threadIdx.x == kSwapMathThreads) ask_ahead(p);
  if (p.stream.tiles != nullptr && !p.stream.plan_is_ready) device::wait_for_inputs();
  const Units units =
      units_of_cluster(p, p.stream.tiles != nullptr ? __ldcg(p.stream.num_tiles) : 1);
  if (threadIdx.x < kSwapMathThreads) {
    multiply<Tile>(p, shared, units);
  } else if (threadIdx.x == kSwapMathThreads) {
    produce(p, base, units);
  }
#endif
}

// --- Launcher -----------------------------------------------------------------------------------

template <typename Tile>
void launch_tile(const SwapArgs& args, int32_t blocks, cudaStream_t stream) {
  launch(swap_kernel<Tile>,
         {.grid = dim3(static_cast<uint32_t>(blocks)),
          .block = dim3(kThreads),
          .shared_bytes = args.shape.shared_bytes,
          .cluster = args.shape.k_split},
         stream, args);
}

template <bool kFp8>
void launch_tokens(const SwapArgs& args, int32_t blocks, cudaStream_t stream) {
  switch (args.shape.token_rows) {
    case 8:
      return launch_tile<Tile<8, kFp8>>(args, blocks, stream);
    case 16:
      return launch_tile<Tile<16, kFp8>>(args, blocks, stream);
    case 32:
      return launch_tile<Tile<32, kFp8>>(args, blocks, stream);
  }
  CHECK_EQ(args.shape.token_rows, 64);
  launch_tile<Tile<64, kFp8>>(args, blocks, stream);
}

template <typename Tile>
void allow_tile(int32_t bytes) {
  allow_shared(swap_kernel<Tile>, bytes);
  // An SM that has given all it can to one block needs no other partition for the next kernel's.
  CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(swap_kernel<Tile>),
                                  cudaFuncAttributePreferredSharedMemoryCarveout,
                                  cudaSharedmemCarveoutMaxShared));
}

template <bool kFp8>
void allow_all(int32_t bytes) {
  allow_tile<Tile<8, kFp8>>(bytes);
  allow_tile<Tile<16, kFp8>>(bytes);
  allow_tile<Tile<32, kFp8>>(bytes);
  allow_tile<Tile<64, kFp8>>(bytes);
}

// Clusters of blocks with a whole SM's shared memory each that run at once.
int32_t clusters_at_once(const DeviceContext& context, int32_t size) {
  if (size == 1) return context.num_sms();
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(size), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(context.num_sms() / size * size));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = static_cast<size_t>(context.shared_bytes_max());
  config.attrs = &attribute;
  config.numAttrs = 1;
  int out = 0;
  CUDA_CHECK(cudaOccupancyMaxActiveClusters(&out, swap_kernel<Tile<64, true>>, &config));
  return out;
}

}  // namespace

PairedRows paired_rows(const DeviceMatrix& w, StreamOut out_kind) {
  if (out_kind == StreamOut::kQkv) {
    return {.pair_rows = 32,
            .group_rows = 8,
            .groups = 4,
            .block_rows = 64,
            .blocks = w.rows / 64,
            .box_groups = 4,
            .box_blocks = 2};
  }
  const bool gate_up = out_kind == StreamOut::kSiluMul;
  return {.pair_rows = gate_up ? w.rows / 2 : 8,
          .group_rows = gate_up ? 8 : 16,
          .groups = w.rows / 16,
          .block_rows = w.rows,
          .blocks = w.count,
          .box_groups = 8,
          .box_blocks = 1};
}

Result<SwapStream> SwapStream::create(const DeviceContext& context) {
  SwapStream out(context);
  if (context.capability() != 90) return out;
  TRY_ASSIGN(out.maps_, TensorMaps::create());
  allow_all<false>(context.shared_bytes_max());
  allow_all<true>(context.shared_bytes_max());
  for (size_t i = 0; i < out.clusters_.size(); ++i) {
    out.clusters_[i] = clusters_at_once(context, 1 << i);
  }
  return out;
}

SwapProblem SwapStream::problem_of(const DeviceMatrix& w, StreamOut out_kind,
                                   const QkvTarget* target) const {
  CHECK((out_kind == StreamOut::kQkv) == (target != nullptr));
  SwapProblem out = {.capability = context_->capability(),
                     .dtype = w.dtype,
                     .rows = w.rows,
                     .cols = w.cols,
                     .rows_per_scale = w.rows_per_scale,
                     .clusters = clusters_,
                     .shared_bytes_max = context_->shared_bytes_max(),
                     .batch_invariant = context_->options().batch_invariant};
  if (out_kind == StreamOut::kSiluMul) out.kind = SwapRows::kGateUp;
  if (target != nullptr) {
    out.kind = SwapRows::kHeads;
    out.k_dim = target->k_dim;
    out.half = target->half;
  }
  return out;
}

std::optional<SwapShape> SwapStream::choose(const DeviceMatrix& w, StreamOut out_kind,
                                            const QkvTarget* target, int32_t token_rows,
                                            double num_tiles, bool shares) const {
  SwapProblem problem = problem_of(w, out_kind, target);
  if (shares) {
    SwapProblem half = problem;
    half.shared_bytes_max = shared_half(problem.shared_bytes_max);
    const auto out = choose_swap(half, token_rows, num_tiles);
    // With the mode it is this kernel for all numbers of tokens or none.
    if (out.has_value() || !problem.batch_invariant) return out;
  }
  return choose_swap(problem, token_rows, num_tiles);
}

const CUtensorMap& SwapStream::weight_map(const StreamParams& p) {
  const auto at = made_.find(p.w.values);
  if (at != made_.end()) {
    const DeviceMatrix& of = at->second.of;
    CHECK(of.count == p.w.count && of.rows == p.w.rows && of.cols == p.w.cols && of.ld == p.w.ld);
    CHECK(of.dtype == p.w.dtype);
    const auto same = [](StreamOut kind) {
      return kind == StreamOut::kF32 ? StreamOut::kBf16 : kind;
    };
    if (same(at->second.out_kind) == same(p.out_kind)) return at->second.map;
  }
  const CUtensorMap map = maps_->paired_rows(p.w, paired_rows(p.w, p.out_kind));
  return made_.insert_or_assign(p.w.values, Made{p.w, p.out_kind, map}).first->second.map;
}

void SwapStream::run(const StreamParams& params, const SwapShape& shape, bool all_busy) {
  if (params.num_tokens == 0 || params.w.rows == 0) return;
  CHECK(maps_.has_value());
  CHECK(params.plan != nullptr || params.num_tokens <= shape.token_rows);
  StreamParams p = params;
  p.shape = {.token_rows = shape.token_rows,
             .k_blocks = shape.k_blocks,
             .k_warps = 1,
             .places_at = shape.places_at};
  SwapArgs args;
  args.w_map = weight_map(p);
  args.stream = stream_args(p);
  args.shape = shape;
  args.window = p.plan != nullptr ? std::min(kSwapWindow, shape.stages) : shape.stages;
  args.guessed_tiles = all_busy && p.plan != nullptr && !p.plan_is_ready ? p.w.count : 0;
  args.stores_vectors = (p.out_kind == StreamOut::kBf16 || p.out_kind == StreamOut::kSiluMul) &&
                        reinterpret_cast<uintptr_t>(p.out) % 16 == 0;
  const int64_t tiles_max =
      p.plan == nullptr ? 1 : expert_tiles_max(p.num_tokens, p.w.count, shape.token_rows);
  const int64_t resident =
      clusters_[shape.k_split == 4 ? 2 : static_cast<size_t>(shape.k_split) - 1];
  const auto clusters =
      static_cast<int32_t>(std::min(resident, tiles_max * args.stream.units_per_tile));
  CHECK_GT(clusters, 0);
  const int32_t blocks = clusters * shape.k_split;
  if (p.w.dtype == DType::kF8E4m3) return launch_tokens<true>(args, blocks, context_->stream());
  launch_tokens<false>(args, blocks, context_->stream());
}

}  // namespace mimo::kernels::cuda::product
