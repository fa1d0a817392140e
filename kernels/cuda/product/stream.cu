#include "kernels/cuda/product/stream.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product/instructions.cuh"
#include "kernels/cuda/product/stream_args.h"
#include "kernels/cuda/product/stream_inputs.cuh"
#include "kernels/cuda/product/stream_outputs.cuh"
#include "kernels/device/cp_async.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"

// Weight rows are the 16 rows of m16n8k16, tokens its columns. The order of the columns that a
// product sums over is free as long as both sides keep to it, so lane (g, t) = (lane / 4, lane % 4)
// takes 16 contiguous bytes of weight rows a and b and of token g at the same place, and uses them
// as fragments of several instructions. A weight thus comes as the thread that multiplies it reads
// it: each thread copies its own 16 bytes to a ring in shared memory, some steps ahead, and needs
// no barrier to take them out again.
namespace mimo::kernels::cuda::product {
namespace {

// --- Tile ---------------------------------------------------------------------------------------

template <int kTokens_, bool kFp8_>
struct Tile {
  static constexpr int kTokens = kTokens_;
  static constexpr bool kFp8 = kFp8_;
  static constexpr int kEights = kTokens / 8;  // columns of an instruction
  static constexpr int kStages = stream_stages(kFp8 ? DType::kF8E4m3 : DType::kBf16, kTokens);
  static constexpr int kStageBytes = kStreamRows * kColumnBlockBytes;  // of a warp
  static_assert(kTokens % 8 == 0, "an instruction has 8 columns");
  static_assert(kStageBytes == 4 * 32 * 16, "a lane takes four times 16 bytes a step");
};

// --- Steps --------------------------------------------------------------------------------------

// The units [begin, end) that a block takes one behind the other.
struct Units {
  int32_t begin;
  int32_t end;
};

__device__ __forceinline__ Units units_of_block(const StreamArgs& p) {
  if (p.tiles == nullptr) {
    const int32_t blocks = gridDim.x / p.token_tiles;
    const int64_t i = blockIdx.x / p.token_tiles;
    return {static_cast<int32_t>(i * p.units_per_tile / blocks),
            static_cast<int32_t>((i + 1) * p.units_per_tile / blocks)};
  }
  const int64_t count = int64_t{__ldcg(p.num_tiles)} * p.units_per_tile;
  const int64_t i = blockIdx.x;
  return {static_cast<int32_t>(i * count / gridDim.x),
          static_cast<int32_t>((i + 1) * count / gridDim.x)};
}

// The weights of a warp's steps, in order, on their way to its part of the ring.
template <typename Tile>
class Feed {
 public:
  __device__ __forceinline__ Feed(const StreamArgs& p, uint8_t* shared, Units units)
      : p_(p),
        warp_(threadIdx.x / 32),
        lane_(threadIdx.x % 32),
        slice_(warp_ % p.shape.k_warps),
        begin_(slice_ * p.shape.k_blocks / p.shape.k_warps),
        end_((slice_ + 1) * p.shape.k_blocks / p.shape.k_warps),
        ring_(device::shared_address(shared + warp_ * Tile::kStages * Tile::kStageBytes) +
              lane_ * 16),
        scales_(device::shared_address(shared + p.shape.ring_scales_at) +
                (warp_ * Tile::kStages * kStreamRows + lane_) * 4),
        unit_(units.begin),
        units_end_(begin_ < end_ ? units.end : units.begin),
        policy_(p.read_once ? evict_first_policy() : evict_normal_policy()) {
    if (unit_ < units_end_) aim();
  }

  // Queues the next step's weights, if there is one, as one group of copies.
  __device__ __forceinline__ void queue(int32_t stage) {
    if (unit_ < units_end_) {
      const uint32_t to = ring_ + stage * Tile::kStageBytes;
      const int32_t at = block_ * kColumnBlockBytes;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const bool inside = at + half * 64 + (lane_ % 4) * 16 < p_.row_bytes;
        copy_async_16(to + half * 1024, a_ + at + half * 64, has_a_ && inside, policy_);
        copy_async_16(to + half * 1024 + 512, b_ + at + half * 64, has_b_ && inside, policy_);
      }
      if (Tile::kFp8 && lane_ < kStreamRows) {
        copy_async_4(scales_ + stage * kStreamRows * 4, scale_ + block_, has_scale_);
      }
      if (++block_ == end_) {
        ++unit_;
        if (unit_ < units_end_) aim();
      }
    }
    device::copy_async_commit();
  }

 private:
  // At the first step of unit_.
  __device__ __forceinline__ void aim() {
    block_ = begin_;
    const uint8_t* w = p_.w;
    const float* w_scales = p_.w_scales;
    int32_t unit = unit_;
    if (p_.tiles != nullptr) {
      const int32_t tile = unit / p_.units_per_tile;
      unit -= tile * p_.units_per_tile;
      const int64_t expert = __ldcg(p_.tiles + tile).x;
      w += expert * p_.w_bytes;
      w_scales += expert * p_.w_scales_count;
    }
    const int32_t sixteen = unit * (kStreamWarps / p_.shape.k_warps) + warp_ / p_.shape.k_warps;
    const RowPair rows = row_pair(p_, sixteen, lane_ / 4);
    has_a_ = rows.a >= 0;
    has_b_ = rows.b >= 0;
    a_ = w + int64_t{has_a_ ? rows.a : 0} * p_.row_bytes + lane_ % 4 * 16;
    b_ = w + int64_t{has_b_ ? rows.b : 0} * p_.row_bytes + lane_ % 4 * 16;
    if (Tile::kFp8) {
      const RowPair scaled = row_pair(p_, sixteen, lane_ % 8);
      const int32_t row = lane_ < 8 ? scaled.a : scaled.b;
      has_scale_ = row >= 0;
      scale_ = w_scales + int64_t{(has_scale_ ? row : 0) / p_.rows_per_scale} * p_.scale_cols;
    }
  }

  const StreamArgs& p_;
  const int32_t warp_;
  const int32_t lane_;
  const int32_t slice_;
  const int32_t begin_;  // the warp's column blocks of a row
  const int32_t end_;
  const uint32_t ring_;
  const uint32_t scales_;
  int32_t unit_;
  const int32_t units_end_;
  const uint64_t policy_;
  int32_t block_ = 0;
  const uint8_t* a_ = nullptr;  // this lane's first 16 bytes of its two rows
  const uint8_t* b_ = nullptr;
  const float* scale_ = nullptr;  // lanes 0 .. 15: of rows a, then of rows b
  bool has_a_ = false;
  bool has_b_ = false;
  bool has_scale_ = false;
};

__device__ __forceinline__ void load_words(uint32_t (&out)[4], const uint8_t* at) {
  const uint4 words = *reinterpret_cast<const uint4*>(at);
  out[0] = words.x;
  out[1] = words.y;
  out[2] = words.z;
  out[3] = words.w;
}

__device__ __forceinline__ uint32_t low_f16x2(uint32_t e4m3) {
  return device::e4m3x2_to_f16x2(static_cast<uint16_t>(e4m3));
}
__device__ __forceinline__ uint32_t high_f16x2(uint32_t e4m3) {
  return device::e4m3x2_to_f16x2(static_cast<uint16_t>(e4m3 >> 16));
}

// sums += the products of 64 bytes of 16 weight rows and of all tokens. `weights` and `tokens`
// point at this lane's 16 bytes of row a and of the first eight tokens.
template <typename Tile>
__device__ __forceinline__ void multiply(float (&sums)[Tile::kEights][4], const uint8_t* weights,
                                         const uint8_t* tokens, int32_t pitch) {
  uint32_t a[4];
  uint32_t b[4];
  load_words(a, weights);
  load_words(b, weights + 512);
  constexpr int kInstructions = Tile::kFp8 ? 4 : 2;
  uint32_t fragments[kInstructions][4];
#pragma unroll
  for (int i = 0; i < kInstructions; ++i) {
    if constexpr (Tile::kFp8) {
      fragments[i][0] = low_f16x2(a[i]);
      fragments[i][1] = low_f16x2(b[i]);
      fragments[i][2] = high_f16x2(a[i]);
      fragments[i][3] = high_f16x2(b[i]);
    } else {
      fragments[i][0] = a[2 * i];
      fragments[i][1] = b[2 * i];
      fragments[i][2] = a[2 * i + 1];
      fragments[i][3] = b[2 * i + 1];
    }
  }
#pragma unroll
  for (int n = 0; n < Tile::kEights; ++n) {
    uint32_t x[4];
    load_words(x, tokens + n * 8 * pitch);
#pragma unroll
    for (int i = 0; i < kInstructions; ++i) {
      if constexpr (Tile::kFp8) {
        device::mma_f16(sums[n], fragments[i], {low_f16x2(x[i]), high_f16x2(x[i])});
      } else {
        device::mma_bf16(sums[n], fragments[i], {x[2 * i], x[2 * i + 1]});
      }
    }
  }
}

// sums += one step: a column block of 16 weight rows by all tokens.
template <typename Tile>
__device__ __forceinline__ void step(const StreamArgs& p, uint8_t* shared, int32_t stage,
                                     int32_t block, float (&sums)[Tile::kEights][4]) {
  const int32_t warp = threadIdx.x / 32;
  const int32_t lane = threadIdx.x % 32;
  const int32_t pitch = p.shape.token_pitch;
  const uint8_t* const weights =
      shared + (warp * Tile::kStages + stage) * Tile::kStageBytes + lane * 16;
  const uint8_t* const tokens =
      shared + p.shape.tokens_at + lane / 4 * pitch + block * kColumnBlockBytes + lane % 4 * 16;
  if constexpr (!Tile::kFp8) {
    multiply<Tile>(sums, weights, tokens, pitch);
    multiply<Tile>(sums, weights + 1024, tokens + 64, pitch);
  } else {
    float part[Tile::kEights][4] = {};
    multiply<Tile>(part, weights, tokens, pitch);
    multiply<Tile>(part, weights + 1024, tokens + 64, pitch);
    const float* const scales = shared_part<float>(shared, p.shape.ring_scales_at) +
                                (warp * Tile::kStages + stage) * kStreamRows + lane / 4;
    const float scale_a = scales[0];
    const float scale_b = scales[8];
    const float* const token_scales =
        shared_part<float>(shared, p.shape.token_scales_at) + block * Tile::kTokens + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < Tile::kEights; ++n) {
      const float2 x = *reinterpret_cast<const float2*>(token_scales + n * 8);
      sums[n][0] += part[n][0] * (scale_a * x.x);
      sums[n][1] += part[n][1] * (scale_a * x.y);
      sums[n][2] += part[n][2] * (scale_b * x.x);
      sums[n][3] += part[n][3] * (scale_b * x.y);
    }
  }
}

// Adds up what the warps that share a row hold, in the order of the columns, and stores it. With
// `parity` alternating, one barrier is enough: who writes a buffer again has passed the barrier
// that its last readers came to after they had read.
template <typename Tile>
__device__ __forceinline__ void finish(const StreamArgs& p, uint8_t* shared, int32_t unit,
                                       TokenTile tile, int32_t parity,
                                       float (&sums)[Tile::kEights][4]) {
  const int32_t warp = threadIdx.x / 32;
  const int32_t lane = threadIdx.x % 32;
  const int32_t k_warps = p.shape.k_warps;
  const int32_t sixteen = unit * (kStreamWarps / k_warps) + warp / k_warps;
  const RowPair rows = row_pair(p, sixteen, lane / 4);
  if (k_warps == 1) {
#pragma unroll
    for (int n = 0; n < Tile::kEights; ++n) {
      store_sums(p, rows, tile, n * 8 + lane % 4 * 2, sums[n], shared);
    }
    return;
  }
  float4* const parts = shared_part<float4>(shared, p.shape.sums_at) +
                        parity * kStreamWarps * Tile::kEights * 32 + lane;
#pragma unroll
  for (int n = 0; n < Tile::kEights; ++n) {
    parts[(warp * Tile::kEights + n) * 32] =
        make_float4(sums[n][0], sums[n][1], sums[n][2], sums[n][3]);
  }
  __syncthreads();
  const int32_t first_warp = warp / k_warps * k_warps;
  for (int32_t n = warp - first_warp; n < Tile::kEights; n += k_warps) {
    float total[4] = {};
    for (int32_t slice = 0; slice < k_warps; ++slice) {
      const float4 part = parts[((first_warp + slice) * Tile::kEights + n) * 32];
      total[0] += part.x;
      total[1] += part.y;
      total[2] += part.z;
      total[3] += part.w;
    }
    store_sums(p, rows, tile, n * 8 + lane % 4 * 2, total, shared);
  }
}

// The tokens of tile `i`.
template <typename Tile>
__device__ __forceinline__ TokenTile token_tile(const StreamArgs& p, int32_t i) {
  if (p.tiles != nullptr) {
    const int4 tile = __ldcg(p.tiles + i);
    return {tile.y, tile.z};
  }
  return {i * Tile::kTokens, min(Tile::kTokens, p.num_tokens - i * Tile::kTokens)};
}

// --- Kernel: grid [token tiles x blocks], or [blocks] when grouped ------------------------------

template <typename Tile>
__global__ void __launch_bounds__(kStreamThreads, 2)
    stream_kernel(const __grid_constant__ StreamArgs p) {
  extern __shared__ __align__(128) uint8_t shared[];
  const bool grouped = p.tiles != nullptr;
  if (grouped && !p.plan_is_ready) device::wait_for_inputs();
  const Units units = units_of_block(p);
  Feed<Tile> feed(p, shared, units);
#pragma unroll
  for (int i = 0; i < Tile::kStages; ++i) feed.queue(i);
  device::wait_for_inputs();
  // Not before: the next kernel may count on everything before this one being done.
  device::let_next_start();

  const int32_t slice = threadIdx.x / 32 % p.shape.k_warps;
  const int32_t begin = slice * p.shape.k_blocks / p.shape.k_warps;
  const int32_t end = (slice + 1) * p.shape.k_blocks / p.shape.k_warps;
  int32_t stage = 0;
  int32_t tile_at = -1;
  TokenTile tile = {};
  for (int32_t i = units.begin; i < units.end; ++i) {
    const int32_t tile_idx = grouped ? i / p.units_per_tile : blockIdx.x % p.token_tiles;
    if (tile_idx != tile_at) {
      __syncthreads();  // the tile before is done with
      tile_at = tile_idx;
      tile = token_tile<Tile>(p, tile_idx);
      load_tokens<Tile::kFp8>(p, tile, shared);
      __syncthreads();
    }
    float sums[Tile::kEights][4] = {};
    for (int32_t block = begin; block < end; ++block) {
      device::copy_async_wait<Tile::kStages - 1>();
      __syncwarp();  // scales come from other lanes
      step<Tile>(p, shared, stage, block, sums);
      __syncwarp();
      feed.queue(stage);
      if (++stage == Tile::kStages) stage = 0;
    }
    finish<Tile>(p, shared, grouped ? i - tile_idx * p.units_per_tile : i, tile, i % 2, sums);
  }
}

// --- Launcher -----------------------------------------------------------------------------------

template <typename Tile>
void launch_tile(const StreamArgs& args, int32_t blocks, cudaStream_t stream) {
  launch(stream_kernel<Tile>,
         {.grid = dim3(static_cast<uint32_t>(blocks)),
          .block = dim3(kStreamThreads),
          .shared_bytes = args.shape.shared_bytes},
         stream, args);
}

template <int kTokens>
void launch_tokens(const StreamArgs& args, bool fp8, int32_t blocks, cudaStream_t stream) {
  if (fp8) return launch_tile<Tile<kTokens, true>>(args, blocks, stream);
  launch_tile<Tile<kTokens, false>>(args, blocks, stream);
}

}  // namespace

void prepare_stream(const DeviceContext& context) {
  const int32_t bytes = context.shared_bytes_max();
  allow_shared(stream_kernel<Tile<8, false>>, bytes);
  allow_shared(stream_kernel<Tile<8, true>>, bytes);
  allow_shared(stream_kernel<Tile<16, false>>, bytes);
  allow_shared(stream_kernel<Tile<16, true>>, bytes);
  allow_shared(stream_kernel<Tile<32, false>>, bytes);
  allow_shared(stream_kernel<Tile<32, true>>, bytes);
}

void stream(const StreamParams& p, const DeviceContext& context) {
  if (p.num_tokens == 0 || p.w.rows == 0) return;
  const bool fp8 = p.w.dtype == DType::kF8E4m3;
  CHECK_LE(p.shape.shared_bytes, context.shared_bytes_max());
  const StreamArgs args = stream_args(p);
  const int32_t resident = context.num_sms() * p.shape.blocks_per_sm;
  const int64_t tiles_max =
      p.plan == nullptr ? 1 : expert_tiles_max(p.num_tokens, p.w.count, p.shape.token_rows);
  const int64_t units_max = std::max<int64_t>(1, tiles_max * args.units_per_tile);
  const auto blocks = static_cast<int32_t>(
      std::min<int64_t>(units_max, std::max(1, resident / args.token_tiles)) * args.token_tiles);
  if (p.shape.token_rows == 8) return launch_tokens<8>(args, fp8, blocks, context.stream());
  if (p.shape.token_rows == 16) return launch_tokens<16>(args, fp8, blocks, context.stream());
  CHECK_EQ(p.shape.token_rows, 32);
  launch_tokens<32>(args, fp8, blocks, context.stream());
}

}  // namespace mimo::kernels::cuda::product
