#include "kernels/cuda/product/chain.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product/chain_args.h"
#include "kernels/cuda/product/cluster.cuh"
#include "kernels/cuda/product/instructions.cuh"
#include "kernels/cuda/product/stream_outputs.cuh"
#include "kernels/cuda/product/swap.h"
#include "kernels/cuda/product/wgmma_few.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/tma.cuh"
#include "kernels/device/wgmma.cuh"

// A tile is 128 weight rows by 64 tokens. One thread keeps a ring of stages, 128 bytes of all of
// both, filled ahead of two warpgroups that multiply 64 weight rows each. A chain is summed where
// wgmma sums; chains are added in float, in their order.
namespace mimo::kernels::cuda::product {
namespace {

constexpr int kMathWarps = 8;
constexpr int kThreads = kMathWarps * 32 + 32;
constexpr int kWeightBytes = kSwapStageBytes;
constexpr int kStageBytes = kWeightBytes + kChainTokens * kColumnBlockBytes;
constexpr int kStages = 9;
constexpr int kSharedBytes = kStages * kStageBytes + kStages * 16 + 1024;

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int kSums = kChainTokens / 2;  // of a thread

// The stages in their order, again and again, and which parity the present round's phases have.
struct Ring {
  __device__ __forceinline__ uint32_t stage() const { return stages + at * kStageBytes; }
  __device__ __forceinline__ uint32_t full() const {
    return stages + kStages * kStageBytes + at * 16;
  }
  __device__ __forceinline__ uint32_t empty() const { return full() + 8; }
  __device__ __forceinline__ void advance() {
    if (++at < kStages) return;
    at = 0;
    parity ^= 1;
  }

  uint32_t stages;
  int32_t at = 0;
  uint32_t parity = 0;
};

__device__ __forceinline__ void init_barriers(Ring ring) {
  for (int s = 0; s < kStages; ++s) {
    device::init_barrier(ring.full(), 1);
    device::init_barrier(ring.empty(), kMathWarps);
    ring.advance();
  }
  device::fence_barriers();
}

// Blocks that run together share a unit's weights.
__device__ __forceinline__ int32_t unit_of(const ChainArgs& p, int32_t tile) {
  return tile / p.token_tiles;
}
__device__ __forceinline__ int32_t first_token_of(const ChainArgs& p, int32_t tile) {
  return tile % p.token_tiles * kChainTokens;
}

__device__ __forceinline__ void load_weights(const ChainArgs& p, int32_t tile, int32_t block,
                                             const Ring& ring, uint64_t policy) {
  device::arrive_expecting(ring.full(), kStageBytes);
  load_box_5d(ring.stage(), p.w_map, block * kColumnBlockBytes,
              unit_of(p, tile) * (kSwapRows / kStreamRows), 0, ring.full(), policy);
}
__device__ __forceinline__ void load_tokens(const ChainArgs& p, int32_t tile, int32_t block,
                                            const Ring& ring) {
  device::load_box_2d(ring.stage() + kWeightBytes, p.x_map, block * kColumnBlockBytes,
                      first_token_of(p, tile), ring.full());
}

// One thread. The first tile's weights are asked for before the inputs are there.
__device__ void produce(const ChainArgs& p, Ring ring) {
  const uint64_t policy = evict_first_policy();
  const auto tile = static_cast<int32_t>(blockIdx.x);
  const int32_t early = min(p.k_blocks, kStages);
  Ring ahead = ring;
  for (int32_t block = 0; block < early; ++block) {
    load_weights(p, tile, block, ahead, policy);
    ahead.advance();
  }
  device::wait_for_inputs();
  for (int32_t i = tile; i < p.num_tiles; i += static_cast<int32_t>(gridDim.x)) {
    for (int32_t block = 0; block < p.k_blocks; ++block) {
      if (i != tile || block >= early) {
        device::wait_parity(ring.empty(), ring.parity ^ 1);
        load_weights(p, i, block, ring, policy);
      }
      load_tokens(p, i, block, ring);
      ring.advance();
    }
  }
}

// sums = the next chain's, which has p.chain_blocks stages.
__device__ __forceinline__ void sum_chain(const ChainArgs& p, Ring& ring, float (&sums)[kSums]) {
  uint32_t done = 0;  // the barrier of the stage before
  device::hold(sums);
  for (int32_t block = 0; block < p.chain_blocks; ++block) {
    const uint32_t weights = ring.stage() + threadIdx.x / 128 * (kWeightBytes / 2);
    const uint32_t tokens = ring.stage() + kWeightBytes;
    device::wait_parity(ring.full(), ring.parity);
    device::wgmma_begin();
#pragma unroll
    for (int step = 0; step < kColumnBlockBytes / 32; ++step) {
      wgmma_bf16(sums, device::operand_128b(weights + step * 32),
                 device::operand_128b(tokens + step * 32), step > 0 || block > 0);
    }
    device::wgmma_commit();
    if (block > 0) {
      device::wgmma_wait<1>();
      if (threadIdx.x % 32 == 0) device::arrive(done);
    }
    done = ring.empty();
    ring.advance();
  }
  device::wgmma_wait<0>();
  device::hold(sums);
  if (threadIdx.x % 32 == 0) device::arrive(done);
}

__device__ __forceinline__ void store_tile(const ChainArgs& p, int32_t tile,
                                           const float (&total)[kSums]) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const int32_t sixteen = unit_of(p, tile) * kMathWarps + static_cast<int32_t>(threadIdx.x / 32);
  const RowPair rows = swap_rows(p.stream, sixteen, lane / 4);
  const int32_t first = first_token_of(p, tile);
#pragma unroll
  for (int n = 0; n < kChainTokens / 8; ++n) {
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      const int32_t token = first + n * 8 + lane % 4 * 2 + t;
      if (token < p.stream.num_tokens) {
        put(p.stream, rows, token, total[4 * n + t], total[4 * n + 2 + t]);
      }
    }
  }
}

__device__ void multiply(const ChainArgs& p, Ring ring) {
  for (auto tile = static_cast<int32_t>(blockIdx.x); tile < p.num_tiles;
       tile += static_cast<int32_t>(gridDim.x)) {
    float total[kSums] = {};
    for (int32_t begin = 0; begin < p.k_blocks; begin += p.chain_blocks) {
      float sums[kSums] = {};
      sum_chain(p, ring, sums);
#pragma unroll
      for (int i = 0; i < kSums; ++i) total[i] += sums[i];
    }
    store_tile(p, tile, total);
  }
}

#endif

// --- Kernel: grid [blocks], each takes every so many-th tile ------------------------------------

__global__ void __launch_bounds__(kThreads, 1) chain_kernel(const __grid_constant__ ChainArgs p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ uint8_t memory[];
  const uint32_t base = device::shared_address(memory);
  const Ring ring = {base + (1024 - base % 1024) % 1024};
  if (threadIdx.x == 0) {
    device::prefetch_map(p.w_map);
    device::prefetch_map(p.x_map);
    init_barriers(ring);
  }
  __syncthreads();
  device::let_next_start();
  if (threadIdx.x < kMathWarps * 32) {
    device::wait_for_inputs();
    multiply(p, ring);
  } else if (threadIdx.x == kMathWarps * 32) {
    produce(p, ring);
  }
#endif
}

}  // namespace

// --- Launcher -----------------------------------------------------------------------------------

Result<ChainStream> ChainStream::create(const DeviceContext& context) {
  ChainStream out(context);
  if (context.capability() != 90) return out;
  TRY_ASSIGN(out.maps_, TensorMaps::create());
  allow_shared(chain_kernel, kSharedBytes);
  return out;
}

void ChainStream::run(const StreamParams& params, int32_t chain_blocks) const {
  if (params.num_tokens == 0 || params.w.rows == 0) return;
  CHECK(maps_.has_value());
  CHECK(params.plan == nullptr);
  CHECK(params.w.dtype == DType::kBf16);
  CHECK(params.out_kind == StreamOut::kBf16 || params.out_kind == StreamOut::kF32);
  StreamParams p = params;
  p.shape = {.token_rows = kChainTokens, .k_warps = 1};
  const int64_t row_bytes = int64_t{p.w.cols} * dtype_bytes(p.w.dtype);
  ChainArgs args;
  args.w_map = maps_->paired_rows(p.w, paired_rows(p.w, p.out_kind));
  args.x_map = maps_->rows(p.x, p.num_tokens, row_bytes, kChainTokens);
  args.stream = stream_args(p);
  args.k_blocks = static_cast<int32_t>(row_bytes / kColumnBlockBytes);
  args.chain_blocks = chain_blocks;
  args.token_tiles = (p.num_tokens + kChainTokens - 1) / kChainTokens;
  args.num_tiles = (p.w.rows + kSwapRows - 1) / kSwapRows * args.token_tiles;
  CHECK_EQ(row_bytes % kColumnBlockBytes, 0);
  CHECK_EQ(args.k_blocks % chain_blocks, 0);
  launch(chain_kernel,
         {.grid = dim3(static_cast<uint32_t>(std::min(args.num_tiles, context_->num_sms()))),
          .block = dim3(kThreads),
          .shared_bytes = kSharedBytes},
         context_->stream(), args);
}

}  // namespace mimo::kernels::cuda::product
