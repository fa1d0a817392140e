#include "kernels/cuda/product/slab.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product/cluster.cuh"
#include "kernels/cuda/product/slab_args.h"
#include "kernels/cuda/product/slab_inputs.cuh"
#include "kernels/cuda/product/slab_outputs.cuh"
#include "kernels/cuda/product/slab_tile.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/tma.cuh"
#include "kernels/device/wgmma.cuh"

// Warpgroup 0 fills a ring of stages, 128 weight rows and the block's tokens by 128 columns each,
// and finds where the results go; warpgroups 1 and 2 multiply. The blocks of a cluster that have
// the same columns bring a part of the weights each, for all of them; those that have the same
// tokens send one another the sums that the other finishes, and keep their own.
namespace mimo::kernels::cuda::product {
namespace {

constexpr int kThreads = 384;

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int kMathBarrier = 2;
// Of a thread: 56 * 128 + 224 * 256 is what 384 threads of 168 start with.
constexpr int kProducerRegisters = 56;
constexpr int kMathRegisters = 224;

// --- Products -----------------------------------------------------------------------------------

// The scales of the unit's rows: lane i has those of the slice's block i. By half of the unit's
// rows, and by which of a pair.
struct RowScales {
  float a[2];
  float b[2];
};
__device__ __forceinline__ RowScales row_scales(const SlabArgs& p, int32_t unit, int32_t slice) {
  RowScales out = {};
  const auto block = static_cast<int32_t>(threadIdx.x % 32);
  if (block >= p.shape.slice_blocks) return out;
  const StreamArgs& s = p.stream;
  const auto of = [&](int32_t row) {
    if (row >= s.rows) return 0.0f;
    return __ldg(s.w_scales + int64_t{row / s.rows_per_scale} * s.scale_cols +
                 slice * p.shape.slice_blocks + block);
  };
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const PairRows rows = slab_pair(s, unit, half * 4);
    out.a[half] = of(rows.a);
    out.b[half] = of(rows.b);
  }
  return out;
}

// total += 64 tokens by the unit's rows, of one column block.
__device__ __forceinline__ void add_scaled(const float (&sums)[64], float x0, float x8,
                                           const float (&w)[2][2], float (&total)[64]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      const float scale0 = w[half][b] * x0;
      const float scale8 = w[half][b] * x8;
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        const int at = (half * 8 + pair * 2 + b) * 4;
        total[at] += sums[at] * scale0;
        total[at + 1] += sums[at + 1] * scale0;
        total[at + 2] += sums[at + 2] * scale8;
        total[at + 3] += sums[at + 3] * scale8;
      }
    }
  }
}

// A stage has been multiplied: every block that brings a part of its next contents is told.
template <typename Tile>
__device__ __forceinline__ void hand_back(SlabShare<Tile> share, uint32_t empty) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  if constexpr (Tile::kTiles == 1) {
    if (lane == 0) device::arrive(empty);
  } else {
    if (lane < Tile::kTiles) arrive_in(address_in(empty, share.rank_of(share.slice, lane)));
  }
}

// Of the two that multiply, the same in all threads for the compiler, too.
__device__ __forceinline__ int32_t math_group() {
  return __shfl_sync(~0u, static_cast<int32_t>(threadIdx.x / 128), 0) - 1;
}

// A warpgroup's part of the slice: 64 of the block's tokens, or every second column block.
template <typename Tile>
class Product {
 public:
  __device__ __forceinline__ Product(const SlabArgs& p, SlabShare<Tile> share, uint8_t* shared,
                                     SlabBarriers<Tile> barriers)
      : share_(share),
        barriers_(barriers),
        group_(math_group()),
        count_(p.shape.slice_blocks / (Tile::kTurns ? 2 : 1)),
        row_scales_(row_scales(p, share.unit, share.slice)) {
    const auto row = static_cast<int32_t>(threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4);
    const uint32_t base = device::shared_address(shared);
    weights_ = device::operand_128b(base);
    tokens_ = device::operand_128b(base + kSlabWeightBytes + first_token() * kColumnBlockBytes);
    token_scales_ = shared + p.shape.scales_at + (first_token() + row) * kSlabScaleBytes;
  }

  // Two blocks' sums are under way at once, but for each fourth: accumulators that are under way
  // from one round of a loop to the next would make the compiler wait for each product.
  __device__ __forceinline__ void run(float (&total)[64]) const {
    for (int32_t i = 0; i < count_; i += kAtOnce) {
      float a[64] = {};
      float b[64] = {};
      start(i, a);
      start(i + 1, b);
      device::wait_parity(barriers_.scales(), 0);
      finish<1>(i, a, total);
      start(i + 2, a);
      finish<1>(i + 1, b, total);
      start(i + 3, b);
      finish<1>(i + 2, a, total);
      finish<0>(i + 3, b, total);
    }
  }

 private:
  static constexpr int32_t kAtOnce = 4;
  static_assert(kSlabBlocksStep % (2 * kAtOnce) == 0, "whole rounds for each warpgroup");

  __device__ __forceinline__ int32_t first_token() const {
    return Tile::kTurns ? 0 : group_ * kSlabTokens;
  }
  __device__ __forceinline__ int32_t block(int32_t i) const {
    return Tile::kTurns ? 2 * i + group_ : i;
  }
  __device__ __forceinline__ void start(int32_t i, float (&sums)[64]) const {
    const int32_t stage = block(i) % Tile::kStages;
    // An operand's lowest bits are its address in units of 16 bytes.
    const uint32_t at = static_cast<uint32_t>(stage) * (Tile::kStageBytes / 16);
    device::wait_parity(barriers_.full(stage), block(i) / Tile::kStages % 2);
    device::hold(sums);
    device::wgmma_begin();
#pragma unroll
    for (int step = 0; step < kColumnBlockBytes / 32; ++step) {
      device::wgmma_e4m3_64x128(sums, tokens_ + at + step * 2, weights_ + at + step * 2, step > 0);
    }
    device::wgmma_commit();
  }
  // Scales and adds the sums of a block, all but the newest kPending of which are there.
  template <int kPending>
  __device__ __forceinline__ void finish(int32_t i, float (&sums)[64], float (&total)[64]) const {
    const int32_t at = block(i);
    // As the copy engine's swizzle lays them; tokens are g and g + 8 of sixteen.
    const int32_t g = static_cast<int32_t>(threadIdx.x % 32 / 4);
    const uint8_t* const scale = token_scales_ + (at / 4 ^ g) * 16 + at % 4 * 4;
    const float x0 = *reinterpret_cast<const float*>(scale);
    const float x8 = *reinterpret_cast<const float*>(scale + 8 * kSlabScaleBytes);
    float w[2][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      w[half][0] = __shfl_sync(~0u, row_scales_.a[half], at);
      w[half][1] = __shfl_sync(~0u, row_scales_.b[half], at);
    }
    device::wgmma_wait<kPending>();
    device::hold(sums);
    hand_back<Tile>(share_, barriers_.empty(at % Tile::kStages));
    add_scaled(sums, x0, x8, w, total);
  }

  SlabShare<Tile> share_;
  SlabBarriers<Tile> barriers_;
  uint64_t weights_;  // operands of stage 0
  uint64_t tokens_;
  int32_t group_;
  int32_t count_;
  RowScales row_scales_;
  const uint8_t* token_scales_;  // of the thread's first token
};

// --- Sums ---------------------------------------------------------------------------------------

// Of a warpgroup's slice: [sixteen tokens][eight rows][lane][4], the rows in the order of the
// boxes.
template <typename Tile>
__device__ __forceinline__ uint32_t sums_at(int32_t sixteen, int32_t eight) {
  return (sixteen * 16 + eight) * 512 + threadIdx.x % 32 * 16;
}

// Where block `receiver` of the slices has what a warpgroup of `slice` made: its own where the ring
// was.
template <typename Tile>
__device__ __forceinline__ uint32_t source_at(const SlabShape& shape, int32_t receiver,
                                              int32_t slice, int32_t group) {
  if (slice == receiver) return group * Tile::kSourceBytes;
  const int32_t source = (slice - (slice > receiver ? 1 : 0)) * Tile::kGroups + group;
  return shape.sums_at + source * Tile::kSourceBytes;
}

// To the blocks that finish them, when nobody in this block reads the ring any more.
template <typename Tile>
__device__ __forceinline__ void send_sums(const SlabArgs& p, SlabShare<Tile> share, uint8_t* shared,
                                          SlabBarriers<Tile> barriers, const float (&x)[64]) {
  const int32_t group = math_group();
  const auto warp = static_cast<int32_t>(threadIdx.x % 128 / 32);
  const int32_t sixteen = (Tile::kTurns ? 0 : group * 4) + warp;
  const int32_t receiver = sixteen / Tile::kSixteens;
  const uint32_t at = source_at<Tile>(p.shape, receiver, share.slice, Tile::kTurns ? group : 0) +
                      sums_at<Tile>(sixteen % Tile::kSixteens, 0);
  part_barrier(kMathBarrier, kSlabMathThreads);
  if (receiver != share.slice) {
    const uint32_t rank = share.rank_of(receiver, share.tile);
    const uint32_t to = address_in(device::shared_address(shared) + at, rank);
    const uint32_t counted = address_in(barriers.sums(), rank);
#pragma unroll
    for (int j = 0; j < 16; ++j) {
      send(to + j * 512, x[4 * j], x[4 * j + 1], x[4 * j + 2], x[4 * j + 3], counted);
    }
  }
  if (receiver == share.slice) {
#pragma unroll
    for (int j = 0; j < 16; ++j) {
      *shared_part<float4>(shared, at + j * 512) =
          make_float4(x[4 * j], x[4 * j + 1], x[4 * j + 2], x[4 * j + 3]);
    }
  }
  device::arrive(barriers.sums());
}

// Each warp finishes kPairs pairs of eights of sixteen tokens. What needs no sums is done before
// they are waited for.
template <typename Tile>
class Finish {
 public:
  __device__ __forceinline__ Finish(const SlabArgs& p, SlabShare<Tile> share, uint8_t* shared)
      : p_(p),
        shared_(shared),
        slice_(share.slice),
        sixteen_((static_cast<int32_t>(threadIdx.x / 32) - 4) / kWarpsEach),
        first_pair_(static_cast<int32_t>(threadIdx.x / 32) % kWarpsEach * Tile::kPairs),
        half_(p.stream, share.unit * kSlabRows + first_pair_ / 4 * 64),
        turns_(slab_turns(p.stream, share.unit * kSlabRows + first_pair_ / 4 * 64)) {
#pragma unroll
    for (int eight = 0; eight < 2; ++eight) {
      const int32_t token = share.first_token() + row(eight);
      rows_[eight] = token < p.stream.num_tokens ? token : -1;
      if (!half_.cached || rows_[eight] < 0) continue;
      rows_[eight] = shared_part<Place>(shared, p.shape.places_at)[row(eight)].cache_row;
    }
  }

  __device__ __forceinline__ void run() const {
    const auto* const columns =
        shared_part<__nv_bfloat16*>(shared_, p_.shape.columns_at) + first_pair_ * 2;
    float4 a[Tile::kPairs] = {};
    float4 b[Tile::kPairs] = {};
#pragma unroll
    for (int source = 0; source < Tile::kSplit * Tile::kGroups; ++source) {
      const uint32_t of_source =
          source_at<Tile>(p_.shape, slice_, source / Tile::kGroups, source % Tile::kGroups);
#pragma unroll
      for (int i = 0; i < Tile::kPairs; ++i) {
        const uint32_t from = of_source + sums_at<Tile>(sixteen_, (first_pair_ + i) * 2);
        add(a[i], *shared_part<float4>(shared_, from));
        add(b[i], *shared_part<float4>(shared_, from + 512));
      }
    }
#pragma unroll
    for (int eight = 0; eight < 2; ++eight) {
      PairSums x[Tile::kPairs];
#pragma unroll
      for (int i = 0; i < Tile::kPairs; ++i) {
        x[i].a = eight == 0 ? make_float2(a[i].x, a[i].y) : make_float2(a[i].z, a[i].w);
        x[i].b = eight == 0 ? make_float2(b[i].x, b[i].y) : make_float2(b[i].z, b[i].w);
        if (!turns_) continue;
        const int32_t at = row(eight) * kSlabTurns + (first_pair_ + i) % 4 * 8 +
                           static_cast<int32_t>(threadIdx.x % 4) * 2;
        turn(x[i], *shared_part<float4>(shared_, p_.shape.turns_at + at * 8));
      }
      store_pairs(p_.stream, half_, columns, rows_[eight], x);
    }
  }

 private:
  static constexpr int kWarpsEach = kSlabMathWarps / Tile::kSixteens;

  __device__ __forceinline__ int32_t row(int eight) const {
    return sixteen_ * 16 + eight * 8 + static_cast<int32_t>(threadIdx.x % 32 / 4);
  }
  static __device__ __forceinline__ void add(float4& to, const float4& x) {
    to = make_float4(to.x + x.x, to.y + x.y, to.z + x.z, to.w + x.w);
  }

  const SlabArgs& p_;
  uint8_t* shared_;
  int32_t slice_;
  int32_t sixteen_;
  int32_t first_pair_;
  SlabHalf half_;
  bool turns_;
  int32_t rows_[2];  // of the output or of the cache; -1: not kept
};

// The math warps.
template <typename Tile>
__device__ __forceinline__ void compute(const SlabArgs& p, SlabShare<Tile> share, uint8_t* shared,
                                        SlabBarriers<Tile> barriers) {
  float total[64] = {};
  Product<Tile>(p, share, shared, barriers).run(total);
  device::wait_for_inputs();
  send_sums<Tile>(p, share, shared, barriers, total);
  // This block reaches for no other's memory any more.
  cluster_arrive_relaxed();
  device::wait_parity(barriers.places(), 0);
  const Finish<Tile> finish(p, share, shared);
  wait_parity_cluster(barriers.sums(), 0);
  finish.run();
}

#endif

// --- Kernel: grid [units x cluster] -------------------------------------------------------------

template <typename Tile>
__global__ void __launch_bounds__(kThreads, 1) slab_kernel(const __grid_constant__ SlabArgs p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t base = device::shared_address(memory);
  const SlabBarriers<Tile> barriers = {base + p.shape.barriers_at};
  const SlabShare<Tile> share;
  if (threadIdx.x == 0) {
    if (base % 1024 != 0) __trap();
    device::prefetch_map(p.w_map);
    device::prefetch_map(p.x_map);
    init_slab_barriers<Tile>(barriers);  // and makes that seen by the cluster
  }
  __syncwarp();
  cluster_arrive_relaxed();
  cluster_wait();
  device::let_next_start();
  if (threadIdx.x >= 128) {
    device::take_registers<kMathRegisters>();
    compute<Tile>(p, share, memory, barriers);
  } else {
    device::give_registers<kProducerRegisters>();
    if (threadIdx.x == 0) produce_slab<Tile>(p, share, base, barriers);
    if (threadIdx.x >= 32) help_slab<Tile>(p, share, memory, barriers);
    __syncwarp();
    cluster_arrive_relaxed();
  }
  // Nobody reaches for a block that is gone.
  __syncwarp();
  cluster_wait();
#endif
}

// --- Launcher -----------------------------------------------------------------------------------

template <typename... Tiles>
struct TileList {
  static void allow(int32_t bytes) { (allow_tile<Tiles>(bytes), ...); }
  static bool launch_one(const SlabArgs& args, int32_t units, cudaStream_t stream) {
    return (launch_if<Tiles>(args, units, stream) || ...);
  }

 private:
  template <typename Tile>
  static void allow_tile(int32_t bytes) {
    allow_shared(slab_kernel<Tile>, bytes);
    CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(slab_kernel<Tile>),
                                    cudaFuncAttributePreferredSharedMemoryCarveout,
                                    cudaSharedmemCarveoutMaxShared));
  }
  template <typename Tile>
  static bool launch_if(const SlabArgs& args, int32_t units, cudaStream_t stream) {
    if (!(args.shape.tile == Tile::kShape)) return false;
    launch(slab_kernel<Tile>,
           {.grid = dim3(static_cast<uint32_t>(units * Tile::kCluster)),
            .block = dim3(kThreads),
            .shared_bytes = args.shape.shared_bytes,
            .cluster = Tile::kCluster},
           stream, args);
    return true;
  }
};
using AllTiles =
    TileList<SlabBlock<64, 1, 2>, SlabBlock<128, 1, 2>, SlabBlock<128, 1, 4>, SlabBlock<128, 2, 2>>;

}  // namespace

Result<SlabStream> SlabStream::create(const DeviceContext& context, const SwapStream& swap) {
  SlabStream out(context, swap);
  if (context.capability() != 90) return out;
  TRY_ASSIGN(out.maps_, TensorMaps::create());
  AllTiles::allow(context.shared_bytes_max());
  return out;
}

std::optional<SlabShape> SlabStream::choose(const DeviceMatrix& w, StreamOut out_kind,
                                            const QkvTarget* target, int32_t num_tokens) const {
  if (out_kind == StreamOut::kF32) return std::nullopt;
  if (target != nullptr && target->v_dim % 8 != 0) return std::nullopt;
  return choose_slab(swap_->problem_of(w, out_kind, target), num_tokens);
}

void SlabStream::run(const StreamParams& params, const SlabShape& shape) {
  if (params.num_tokens == 0 || params.w.rows == 0) return;
  CHECK(maps_.has_value());
  CHECK(params.plan == nullptr);
  CHECK(params.x_scales != nullptr);
  CHECK_LE(params.num_tokens, shape.tile.token_rows * shape.tile.token_tiles);
  const bool heads = params.out_kind == StreamOut::kQkv;
  const auto* const to = heads ? params.target.q : params.out;
  CHECK_EQ(reinterpret_cast<uintptr_t>(to) % 16, 0u);
  StreamParams p = params;
  p.shape = {.token_rows = shape.tile.token_rows,
             .k_blocks = shape.tile.k_split * shape.slice_blocks,
             .k_warps = 1};
  PairedRows pairs = paired_rows(p.w, p.out_kind);
  const int32_t groups = kSlabRows / kStreamRows / shape.tile.token_tiles;
  pairs.box_groups = heads ? std::min(groups, pairs.groups) : groups;
  pairs.box_blocks = heads ? std::max(1, groups / pairs.groups) : 1;
  SlabArgs args;
  args.w_map = maps_->paired_rows(p.w, pairs);
  args.x_map = maps_->rows(p.x, p.num_tokens, p.w.cols, shape.tile.token_rows);
  args.scale_map =
      maps_->rows(p.x_scales, p.num_tokens, int64_t{p.w.scale_cols} * 4, shape.tile.token_rows);
  args.stream = stream_args(p);
  args.shape = shape;
  const int32_t units = (p.w.rows + kSlabRows - 1) / kSlabRows;
  CHECK(AllTiles::launch_one(args, units, context_->stream()));
}

}  // namespace mimo::kernels::cuda::product
