#include "kernels/cuda/product/resident.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product/cluster.cuh"
#include "kernels/cuda/product/instructions.cuh"
#include "kernels/cuda/product/resident_args.h"
#include "kernels/cuda/product/resident_norm.cuh"
#include "kernels/cuda/product/resident_outputs.cuh"
#include "kernels/cuda/product/resident_tile.cuh"
#include "kernels/cuda/product/wgmma_few.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/tma.cuh"
#include "kernels/device/wgmma.cuh"

// Every block has all the weights that it multiplies, 128 KB, brought to shared memory while the
// kernel before it still runs; then the copy engine brings the tokens, two warpgroups multiply, and
// the blocks of a cluster send each other their sums, each finishing a part of the rows.
namespace mimo::kernels::cuda::product {
namespace {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// --- Copies -------------------------------------------------------------------------------------

// One thread: [block][row][128 bytes], the boxes [begin, end).
template <typename Tile>
__device__ void ask_for_weights(const ResidentArgs& p, Share<Tile> share, int32_t begin,
                                int32_t end, uint32_t shared, Barriers barriers) {
  constexpr int32_t kBytes = Tile::kRows * kColumnBlockBytes;
  const uint64_t policy = evict_first_policy();
  const bool heads = p.stream.out_kind == StreamOut::kQkv;
  const int32_t y = heads ? 0 : share.unit * (Tile::kRows / kStreamRows);
  const int32_t z = heads ? share.unit * (Tile::kRows / 64) : 0;
  for (int32_t b = begin; b < end; ++b) {
    // Both halves begin with their first.
    const auto nth = [](int32_t i) {
      return i % Tile::kHalves * kResidentBlocks + i / Tile::kHalves;
    };
    const int32_t block = nth(b);
    if (b >= kResidentAhead) device::wait_parity(barriers.weights(nth(b - kResidentAhead)), 0);
    device::arrive_expecting(barriers.weights(block), kBytes);
    load_box_5d(shared + block * kBytes, p.w_map, share.first_byte() + block * kColumnBlockBytes, y,
                z, barriers.weights(block), policy);
  }
}

// One thread: [block][token][128 bytes].
template <typename Tile>
__device__ void bring_tokens(const ResidentArgs& p, Share<Tile> share, uint32_t shared,
                             Barriers barriers) {
  constexpr int32_t kBytes = Tile::kTokens * kColumnBlockBytes;
  device::arrive_expecting(barriers.tokens(), Tile::kBlocks * kBytes);
  for (int32_t b = 0; b < Tile::kBlocks; ++b) {
    device::load_box_2d(shared + p.shape.tokens_at + b * kBytes, p.x_map,
                        share.first_byte() + b * kColumnBlockBytes, 0, barriers.tokens());
  }
}

// One warp: where the tokens stand.
__device__ void find_places(const ResidentArgs& p, uint8_t* shared, Barriers barriers) {
  Place* const places = shared_part<Place>(shared, p.shape.places_at);
  for (auto t = static_cast<int32_t>(threadIdx.x % 32); t < p.stream.num_tokens; t += 32) {
    places[t] = place_of(p.stream.target, t);
  }
  device::arrive(barriers.places());
}

// --- Products -----------------------------------------------------------------------------------

// The scales of a warp's sixteen rows: lane i has those of the slice's block i. One for each eight
// rows: rows_per_scale is a multiple of 8.
struct RowScales {
  float a;
  float b;
};
template <typename Tile>
__device__ __forceinline__ RowScales row_scales(const StreamArgs& p, Share<Tile> share) {
  const RowPair rows = swap_rows(p, share.unit * (Tile::kRows / kStreamRows) + share.sixteen(), 0);
  const int32_t block = share.slice * Tile::kBlocks + share.half() * kResidentBlocks +
                        static_cast<int32_t>(threadIdx.x % kResidentBlocks);
  const auto of = [&](int32_t row) {
    return row < 0 ? 0.0f
                   : __ldg(p.w_scales + int64_t{row / p.rows_per_scale} * p.scale_cols + block);
  };
  return {of(rows.a), of(rows.b)};
}

// The tokens' scales, to [block][token].
template <typename Tile>
__device__ __forceinline__ void copy_token_scales(const StreamArgs& p, Share<Tile> share,
                                                  float* to) {
  constexpr int kEach = (Tile::kTokens * Tile::kBlocks + kMathThreads - 1) / kMathThreads;
  float values[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const auto at = static_cast<int32_t>(threadIdx.x) + i * kMathThreads;
    const int32_t token = at / Tile::kBlocks;
    values[i] = 0.0f;
    if (token >= p.num_tokens) continue;
    values[i] = p.x_scales[int64_t{token} * p.scale_cols + share.slice * Tile::kBlocks +
                           at % Tile::kBlocks];
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const auto at = static_cast<int32_t>(threadIdx.x) + i * kMathThreads;
    const int32_t token = at / Tile::kBlocks;
    if (token < Tile::kTokens) to[at % Tile::kBlocks * Tile::kTokens + token] = values[i];
  }
}

// Where a warpgroup's eight blocks of what it multiplies begin: operand_128b()'s, and how many
// bytes further.
struct Operands {
  uint64_t weights;
  uint64_t tokens;
  const float* token_scales;  // of the thread's first two tokens
  uint32_t barriers;          // of the weights
};

__device__ __forceinline__ uint64_t further(uint64_t operand, int32_t bytes) {
  return operand + static_cast<uint64_t>(bytes >> 4);
}

template <typename Tile>
__device__ __forceinline__ void add_scaled(const float (&sums)[Tile::kSums], float scale_a,
                                           float scale_b, const float* token_scales,
                                           float (&total)[Tile::kSums]) {
#pragma unroll
  for (int n = 0; n < Tile::kEights; ++n) {
    const float2 x = *reinterpret_cast<const float2*>(token_scales + n * 8);
    total[4 * n] += sums[4 * n] * (scale_a * x.x);
    total[4 * n + 1] += sums[4 * n + 1] * (scale_a * x.y);
    total[4 * n + 2] += sums[4 * n + 2] * (scale_b * x.x);
    total[4 * n + 3] += sums[4 * n + 3] * (scale_b * x.y);
  }
}

// Begins the product of column block kStep, and scales and adds that of kFlight - 1 blocks before.
template <typename Tile, int kStep, int kFlight>
__device__ __forceinline__ void fp8_step(const Operands& from, RowScales scales,
                                         float (&sums)[kFlight][Tile::kSums],
                                         float (&total)[Tile::kSums]) {
  if constexpr (kStep < kResidentBlocks) {
    float(&into)[Tile::kSums] = sums[kStep % kFlight];
    device::wait_parity(from.barriers + kStep * 8, 0);
    device::hold(into);
    device::wgmma_begin();
#pragma unroll
    for (int k = 0; k < kColumnBlockBytes / 32; ++k) {
      wgmma_e4m3(into, further(from.weights, kStep * Tile::kRows * kColumnBlockBytes + k * 32),
                 further(from.tokens, kStep * Tile::kTokens * kColumnBlockBytes + k * 32), k > 0);
    }
    device::wgmma_commit();
  }
  constexpr int kDone = kStep - (kFlight - 1);
  if constexpr (kDone >= 0) {
    constexpr int kPending = (kStep < kResidentBlocks ? kStep : kResidentBlocks - 1) - kDone;
    device::wgmma_wait<kPending>();
    device::hold(sums[kDone % kFlight]);
    add_scaled<Tile>(sums[kDone % kFlight], __shfl_sync(~0u, scales.a, kDone),
                     __shfl_sync(~0u, scales.b, kDone), from.token_scales + kDone * Tile::kTokens,
                     total);
  }
}

template <typename Tile, int... kSteps>
__device__ __forceinline__ void fp8_product(const Operands& from, RowScales scales,
                                            float (&total)[Tile::kSums],
                                            std::integer_sequence<int, kSteps...> /*steps*/) {
  constexpr int kFlight = sizeof...(kSteps) - kResidentBlocks + 1;
  float sums[kFlight][Tile::kSums] = {};
  (fp8_step<Tile, kSteps>(from, scales, sums, total), ...);
}

template <typename Tile>
__device__ __forceinline__ void bf16_product(const Operands& from, float (&total)[Tile::kSums]) {
  device::hold(total);
#pragma unroll
  for (int b = 0; b < kResidentBlocks; ++b) {
    device::wait_parity(from.barriers + b * 8, 0);
    device::wgmma_begin();
#pragma unroll
    for (int k = 0; k < kColumnBlockBytes / 32; ++k) {
      wgmma_bf16(total, further(from.weights, b * Tile::kRows * kColumnBlockBytes + k * 32),
                 further(from.tokens, b * Tile::kTokens * kColumnBlockBytes + k * 32), b + k > 0);
    }
    device::wgmma_commit();
  }
  device::wgmma_wait<0>();
  device::hold(total);
}

// The math warps, up to where their sums are on the way to the blocks that finish them.
template <typename Tile, typename Norm>
__device__ __forceinline__ void multiply(const ResidentArgs& p, Share<Tile> share, uint8_t* shared,
                                         Barriers barriers) {
  const uint32_t base = device::shared_address(shared);
  float* const token_scales = shared_part<float>(shared, p.shape.scales_at);
  RowScales scales = {};
  if (Tile::kFp8) scales = row_scales<Tile>(p.stream, share);
  if constexpr (Norm::kFolds) {
    float weight[8];
    device::load_constant(p.norm.weight + NormSlice<Tile>(share).column(), weight);
    clear_tokens<Tile>(p, shared);
    device::wait_for_inputs();
    norm_token<Tile>(p, share, weight, shared);
  } else {
    device::wait_for_inputs();
    if (Tile::kFp8) {
      copy_token_scales<Tile>(p.stream, share, token_scales);
      part_barrier(kMathBarrier, kMathThreads);
    }
  }
  const int32_t first = share.half() * kResidentBlocks;
  const int32_t row = first * Tile::kRows + (Tile::kHalves == 1 ? share.group * 64 : 0);
  const int32_t token = first * Tile::kTokens;
  const Operands from = {device::operand_128b(base + row * kColumnBlockBytes),
                         device::operand_128b(base + p.shape.tokens_at + token * kColumnBlockBytes),
                         token_scales + token + threadIdx.x % 4 * 2, barriers.weights(first)};
  float total[Tile::kSums] = {};
  if constexpr (!Norm::kFolds) device::wait_parity(barriers.tokens(), 0);
  if constexpr (Tile::kFp8) {
    fp8_product<Tile>(
        from, scales, total,
        std::make_integer_sequence<int, kResidentBlocks + kFlightOf<Tile::kTokens> - 1>());
  } else {
    bf16_product<Tile>(from, total);
  }
  send_sums<Tile>(p, share, total, shared, barriers);
}

#endif

// --- Kernel: grid [units x k_split] -------------------------------------------------------------

// Norm: FoldedNorm or ReadyRows.
template <typename Tile, typename Norm>
__global__ void __launch_bounds__(kThreads, Tile::kBlocksPerSm)
    resident_kernel(const __grid_constant__ ResidentArgs p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t base = device::shared_address(memory);
  const Barriers barriers = {base + p.shape.barriers_at};
  const Share<Tile> share(p.shape);
  if (threadIdx.x == kMathThreads) {
    if (base % 1024 != 0) __trap();
    device::prefetch_map(p.w_map);
    device::prefetch_map(p.x_map);
    init_barriers<Tile>(p.shape, barriers);
    ask_for_weights<Tile>(p, share, 0, kResidentAhead, base, barriers);
  }
  // From here on the cluster's blocks may send to each other.
  __syncwarp();
  cluster_arrive_relaxed();
  cluster_wait();
  device::let_next_start();
  if (threadIdx.x < kMathThreads) {
    multiply<Tile, Norm>(p, share, memory, barriers);
  } else if (threadIdx.x < kMathThreads + 32) {
    if (threadIdx.x == kMathThreads) {
      ask_for_weights<Tile>(p, share, kResidentAhead, Tile::kBlocks, base, barriers);
    }
    __syncwarp();
  } else {
    device::wait_for_inputs();
    if (!Norm::kFolds && threadIdx.x == kMathThreads + 32) {
      bring_tokens<Tile>(p, share, base, barriers);
    }
    __syncwarp();
    if (p.stream.out_kind == StreamOut::kQkv) find_places(p, memory, barriers);
  }
  const Spots spots = start_finish<Tile>(p, share, memory, barriers);
  finish<Tile>(p, share, memory, barriers, spots);
#endif
}

// --- Launcher -----------------------------------------------------------------------------------

template <typename Tile, typename Norm = ReadyRows>
void launch_tile(const ResidentArgs& args, int32_t units, cudaStream_t stream) {
  launch(resident_kernel<Tile, Norm>,
         {.grid = dim3(static_cast<uint32_t>(units * args.shape.k_split)),
          .block = dim3(kThreads),
          .shared_bytes = args.shape.shared_bytes,
          .cluster = args.shape.k_split},
         stream, args);
}

template <bool kFp8>
void launch_tokens(const ResidentArgs& args, int32_t units, cudaStream_t stream) {
  switch (args.shape.token_rows) {
    case 8:
      return launch_tile<Tile<8, kFp8>>(args, units, stream);
    case 16:
      return launch_tile<Tile<16, kFp8>>(args, units, stream);
    case 32:
      return launch_tile<Tile<32, kFp8>>(args, units, stream);
  }
  CHECK_EQ(args.shape.token_rows, 64);
  launch_tile<Tile<64, kFp8>>(args, units, stream);
}

using FoldTile = Tile<8, true>;

template <typename Tile, typename Norm = ReadyRows>
void allow_tile(int32_t bytes) {
  const auto* const kernel = reinterpret_cast<const void*>(resident_kernel<Tile, Norm>);
  allow_shared(resident_kernel<Tile, Norm>, bytes);
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                  cudaSharedmemCarveoutMaxShared));
}

template <bool kFp8>
void allow_all(int32_t bytes) {
  allow_tile<Tile<8, kFp8>>(bytes);
  allow_tile<Tile<16, kFp8>>(bytes);
  allow_tile<Tile<32, kFp8>>(bytes);
  allow_tile<Tile<64, kFp8>>(bytes);
}

}  // namespace

Result<ResidentStream> ResidentStream::create(const DeviceContext& context, SwapStream& swap) {
  ResidentStream out(context, swap);
  if (context.capability() != 90) return out;
  TRY_ASSIGN(out.maps_, TensorMaps::create());
  allow_all<false>(context.shared_bytes_max());
  allow_all<true>(context.shared_bytes_max());
  allow_tile<FoldTile, FoldedNorm>(context.shared_bytes_max());
  return out;
}

std::optional<ResidentShape> ResidentStream::choose(const DeviceMatrix& w, StreamOut out_kind,
                                                    const QkvTarget* target,
                                                    int32_t num_tokens) const {
  return choose_resident(swap_->problem_of(w, out_kind, target), num_tokens);
}

bool ResidentStream::folds_norm(const DeviceMatrix& w, const QkvTarget& target,
                                int32_t num_tokens) const {
  if (w.dtype != DType::kF8E4m3) return false;
  const auto shape = choose(w, StreamOut::kQkv, &target, num_tokens);
  return shape.has_value() && product::folds_norm(*shape, w.cols);
}

void ResidentStream::run(const StreamParams& params, const ResidentShape& shape,
                         const AddNormParams* norm) {
  if (params.num_tokens == 0 || params.w.rows == 0) return;
  CHECK(maps_.has_value());
  CHECK(params.plan == nullptr);
  CHECK_LE(params.num_tokens, shape.token_rows);
  const bool fp8 = params.w.dtype == DType::kF8E4m3;
  CHECK_EQ(fp8, params.x_scales != nullptr);
  StreamParams p = params;
  p.shape = {.token_rows = shape.token_rows,
             .k_blocks = shape.k_split * shape.halves * kResidentBlocks,
             .k_warps = 1};
  PairedRows pairs = paired_rows(p.w, p.out_kind);
  if (p.out_kind == StreamOut::kQkv) {
    pairs.box_blocks = shape.unit_rows() / pairs.block_rows;
  } else {
    pairs.box_groups = shape.unit_rows() / kStreamRows;
  }
  ResidentArgs args;
  args.w_map = maps_->paired_rows(p.w, pairs);
  args.x_map =
      maps_->rows(p.x, p.num_tokens, int64_t{p.w.cols} * dtype_bytes(p.w.dtype), shape.token_rows);
  args.stream = stream_args(p);
  args.shape = shape;
  const int32_t units = (p.w.rows + shape.unit_rows() - 1) / shape.unit_rows();
  if (norm != nullptr) {
    CHECK(fp8 && product::folds_norm(shape, p.w.cols) && can_fold(*norm));
    CHECK(norm->out.q == p.x && norm->out.q_scales == p.x_scales && norm->out.cols == p.w.cols);
    CHECK_EQ(norm->num_tokens, p.num_tokens);
    args.norm = *norm;
    return launch_tile<FoldTile, FoldedNorm>(args, units, context_->stream());
  }
  if (fp8) return launch_tokens<true>(args, units, context_->stream());
  launch_tokens<false>(args, units, context_->stream());
}

}  // namespace mimo::kernels::cuda::product
