#include "kernels/cuda/product/resident.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/product/cluster.cuh"
#include "kernels/cuda/product/instructions.cuh"
#include "kernels/cuda/product/resident_args.h"
#include "kernels/cuda/product/stream_outputs.cuh"
#include "kernels/cuda/product/wgmma_few.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/tma.cuh"
#include "kernels/device/wgmma.cuh"

// Every block has all the weights that it multiplies, 128 KB, brought to shared memory while the
// kernel before it still runs; then the copy engine brings the tokens, two warpgroups multiply, and
// the blocks of a cluster read each other's sums, each finishing a part of the rows.
namespace mimo::kernels::cuda::product {
namespace {

template <int kTokens_, bool kFp8_>
struct Tile {
  static constexpr int kTokens = kTokens_;
  static constexpr bool kFp8 = kFp8_;
  static constexpr int kEights = kTokens / 8;
  static constexpr int kSums = kTokens / 2;                          // of a thread
  static constexpr int kHalves = kTokens == kSwapTokensMax ? 1 : 2;  // ResidentShape::halves
  static constexpr int kBlocks = kHalves * kResidentBlocks;
  static constexpr int kRows = 128 / kHalves;
  // So few tokens that there is room for a block of the kernel before or behind.
  static constexpr int kBlocksPerSm = kTokens <= 16 ? 2 : 1;
};

// Column blocks whose FP8 sums are under way, each in registers of its own.
template <int kTokens>
constexpr int kFlightOf = kTokens == 8    ? 8
                          : kTokens == 64 ? 2
                                          : 4;

constexpr int kMathThreads = 256;
constexpr int kMathWarps = kMathThreads / 32;
constexpr int kThreads = kMathThreads + 64;  // a warp for the weights, one for the tokens

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int kMathBarrier = 1;  // __syncthreads() is 0

// --- Shared memory ------------------------------------------------------------------------------

struct Barriers {
  __device__ __forceinline__ uint32_t weights(int32_t block) const { return at + block * 8; }
  __device__ __forceinline__ uint32_t tokens() const { return weights(2 * kResidentBlocks); }
  __device__ __forceinline__ uint32_t places() const { return tokens() + 8; }

  uint32_t at;
};

__device__ __forceinline__ void init_barriers(Barriers barriers) {
  for (int32_t b = 0; b < 2 * kResidentBlocks; ++b) device::init_barrier(barriers.weights(b), 1);
  device::init_barrier(barriers.tokens(), 1);
  device::init_barrier(barriers.places(), 32);
  device::fence_barriers();
}

// Which part of the product is this block's, and which of that this thread's warpgroup's.
template <typename Tile>
struct Share {
  __device__ explicit Share(const ResidentShape& shape)
      : unit(static_cast<int32_t>(blockIdx.x) / shape.k_split),
        slice(static_cast<int32_t>(blockIdx.x) % shape.k_split) {}

  __device__ __forceinline__ int32_t half() const {
    return Tile::kHalves == 1 ? 0 : static_cast<int32_t>(threadIdx.x / 128);
  }
  // Of the unit, those of a math warp.
  __device__ __forceinline__ int32_t sixteen() const {
    return static_cast<int32_t>(threadIdx.x / 32) % (Tile::kRows / kStreamRows);
  }
  __device__ __forceinline__ int32_t first_byte() const {
    return slice * Tile::kBlocks * kColumnBlockBytes;
  }

  int32_t unit;
  int32_t slice;
};

// --- Copies -------------------------------------------------------------------------------------

// One thread: [block][row][128 bytes].
template <typename Tile>
__device__ void ask_for_weights(const ResidentArgs& p, Share<Tile> share, uint32_t shared,
                                Barriers barriers) {
  constexpr int32_t kBytes = Tile::kRows * kColumnBlockBytes;
  const uint64_t policy = evict_first_policy();
  const bool heads = p.stream.out_kind == StreamOut::kQkv;
  const int32_t y = heads ? 0 : share.unit * (Tile::kRows / kStreamRows);
  const int32_t z = heads ? share.unit * (Tile::kRows / 64) : 0;
  for (int32_t b = 0; b < Tile::kBlocks; ++b) {
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

// Where a warpgroup's eight blocks of what it multiplies begin.
struct Operands {
  uint32_t weights;
  uint32_t tokens;
  const float* token_scales;  // of the thread's first two tokens
  uint32_t barriers;          // of the weights
};

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
      wgmma_e4m3(
          into,
          device::operand_128b(from.weights + kStep * Tile::kRows * kColumnBlockBytes + k * 32),
          device::operand_128b(from.tokens + kStep * Tile::kTokens * kColumnBlockBytes + k * 32),
          k > 0);
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
      wgmma_bf16(total,
                 device::operand_128b(from.weights + b * Tile::kRows * kColumnBlockBytes + k * 32),
                 device::operand_128b(from.tokens + b * Tile::kTokens * kColumnBlockBytes + k * 32),
                 b + k > 0);
    }
    device::wgmma_commit();
  }
  device::wgmma_wait<0>();
  device::hold(total);
}

// --- Sums ---------------------------------------------------------------------------------------

// A block's sums, for the cluster: [half][sixteen rows][eight tokens][lane][4].
template <typename Tile>
__device__ __forceinline__ int32_t sums_at(int32_t half, int32_t sixteen, int32_t eight) {
  return ((half * (Tile::kRows / kStreamRows) + sixteen) * Tile::kEights + eight) * 512 +
         static_cast<int32_t>(threadIdx.x % 32) * 16;
}

template <typename Tile>
__device__ __forceinline__ void put_sums(const ResidentArgs& p, Share<Tile> share,
                                         const float (&total)[Tile::kSums], uint8_t* shared) {
#pragma unroll
  for (int n = 0; n < Tile::kEights; ++n) {
    *shared_part<float4>(shared,
                         p.shape.sums_at + sums_at<Tile>(share.half(), share.sixteen(), n)) =
        make_float4(total[4 * n], total[4 * n + 1], total[4 * n + 2], total[4 * n + 3]);
  }
}

// Of all slices' halves, in their order.
template <typename Tile>
__device__ __forceinline__ void gather_sums(const ResidentArgs& p, uint32_t shared, int32_t sixteen,
                                            int32_t eight, float (&sums)[4]) {
  float4 x[4][Tile::kHalves];
#pragma unroll
  for (int slice = 0; slice < 4; ++slice) {
    if (slice >= p.shape.k_split) continue;
    const uint32_t from = address_in(shared + p.shape.sums_at, static_cast<uint32_t>(slice));
#pragma unroll
    for (int half = 0; half < Tile::kHalves; ++half) {
      x[slice][half] = load_cluster(from + sums_at<Tile>(half, sixteen, eight));
    }
  }
#pragma unroll
  for (int slice = 0; slice < 4; ++slice) {
    if (slice >= p.shape.k_split) continue;
#pragma unroll
    for (int half = 0; half < Tile::kHalves; ++half) {
      sums[0] += x[slice][half].x;
      sums[1] += x[slice][half].y;
      sums[2] += x[slice][half].z;
      sums[3] += x[slice][half].w;
    }
  }
}

// Of two rows and one token: where they go and by how much they are turned.
struct Spot {
  __nv_bfloat16* a = nullptr;
  __nv_bfloat16* b = nullptr;
  float sine = 0.0f;
  float cosine = 1.0f;
  float factor_a = 1.0f;
  float factor_b = 1.0f;

  __device__ __forceinline__ void put(bool turns, float x, float y) const {
    const float turned = x * cosine - y * sine;
    if (turns) y = y * cosine + x * sine;
    if (a != nullptr) *a = __float2bfloat16((turns ? turned : x) * factor_a);
    if (b != nullptr) *b = __float2bfloat16(y * factor_b);
  }
};

__device__ __forceinline__ Spot spot_of(const QkvTarget& target, const RowPair& rows, Place place,
                                        int32_t token) {
  Spot out;
  if (rows.frequency >= 0) {
    sincosf(static_cast<float>(place.position) * target.frequencies[rows.frequency], &out.sine,
            &out.cosine);
  }
  const auto find = [&](int32_t row, float& factor) -> __nv_bfloat16* {
    const int32_t q_cols = target.num_q_heads * target.k_dim;
    if (row < 0) return nullptr;
    if (row < q_cols) {
      return static_cast<__nv_bfloat16*>(target.q) + int64_t{token} * q_cols + row;
    }
    if (place.cache_row < 0) return nullptr;
    const int32_t k_cols = target.kv_heads * target.k_dim;
    const bool is_k = row - q_cols < k_cols;
    const int32_t col = is_k ? row - q_cols : row - q_cols - k_cols;
    const int32_t dim = is_k ? target.k_dim : target.v_dim;
    if (!is_k) factor = target.value_scale;
    return static_cast<__nv_bfloat16*>(is_k ? target.k : target.v) +
           (place.cache_row + int64_t{col / dim} * target.page_tokens) * dim + col % dim;
  };
  out.a = find(rows.a, out.factor_a);
  out.b = find(rows.b, out.factor_b);
  return out;
}

// The eights of tokens by sixteen rows that a block finishes of its cluster's unit, a warp each.
template <typename Tile>
struct Parts {
  __device__ Parts(const ResidentArgs& p, Share<Tile> share)
      : sixteens(Tile::kRows / kStreamRows / p.shape.k_split),
        first(share.slice * sixteens),
        of_unit(share.unit * (Tile::kRows / kStreamRows)) {}

  __device__ __forceinline__ int32_t count() const { return sixteens * Tile::kEights; }
  __device__ __forceinline__ int32_t sixteen(int32_t i) const { return first + i / Tile::kEights; }
  __device__ __forceinline__ int32_t eight(int32_t i) const { return i % Tile::kEights; }

  int32_t sixteens;
  int32_t first;
  int32_t of_unit;
};

// Where part i's results go: of lane / 4's rows and two tokens.
template <typename Tile>
__device__ __forceinline__ void find_spots(const ResidentArgs& p, const Parts<Tile>& parts,
                                           int32_t i, const uint8_t* shared, Spot (&spots)[2]) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const auto* const places = reinterpret_cast<const Place*>(shared + p.shape.places_at);
  const RowPair rows = swap_rows(p.stream, parts.of_unit + parts.sixteen(i), lane / 4);
#pragma unroll
  for (int t = 0; t < 2; ++t) {
    const int32_t token = parts.eight(i) * 8 + lane % 4 * 2 + t;
    spots[t] = {};
    if (token < p.stream.num_tokens) {
      spots[t] = spot_of(p.stream.target, rows, places[token], token);
    }
  }
}

template <typename Tile>
__device__ __forceinline__ void store_part(const ResidentArgs& p, const Parts<Tile>& parts,
                                           int32_t i, const float (&sums)[4],
                                           const Spot (&spots)[2]) {
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  const RowPair rows = swap_rows(p.stream, parts.of_unit + parts.sixteen(i), lane / 4);
#pragma unroll
  for (int t = 0; t < 2; ++t) {
    const int32_t token = parts.eight(i) * 8 + lane % 4 * 2 + t;
    if (p.stream.out_kind == StreamOut::kQkv) {
      spots[t].put(rows.frequency >= 0, sums[t], sums[2 + t]);
    } else if (token < p.stream.num_tokens) {
      put(p.stream, rows, token, sums[t], sums[2 + t]);
    }
  }
}

// Meets the cluster's other blocks and finishes this block's part of the rows. What needs no sums
// is done while the others are waited for.
template <typename Tile>
__device__ __forceinline__ void finish(const ResidentArgs& p, Share<Tile> share, uint8_t* shared,
                                       Barriers barriers) {
  const bool heads = p.stream.out_kind == StreamOut::kQkv;
  const Parts<Tile> parts(p, share);
  const uint32_t base = device::shared_address(shared);
  auto i = static_cast<int32_t>(threadIdx.x / 32);
  const auto works = [&] { return i < parts.count() && parts.eight(i) * 8 < p.stream.num_tokens; };
  Spot spots[2];
  if (heads) {
    device::wait_parity(barriers.places(), 0);
    if (works()) find_spots<Tile>(p, parts, i, shared, spots);
  }
  cluster_wait();
  for (; i < parts.count(); i += kMathWarps) {
    if (!works()) continue;
    if (heads && i >= kMathWarps) find_spots<Tile>(p, parts, i, shared, spots);
    float sums[4] = {};
    gather_sums<Tile>(p, base, parts.sixteen(i), parts.eight(i), sums);
    store_part<Tile>(p, parts, i, sums, spots);
  }
}

// The math warps, up to where the block's sums are there for the cluster.
template <typename Tile>
__device__ __forceinline__ void multiply(const ResidentArgs& p, Share<Tile> share, uint8_t* shared,
                                         Barriers barriers) {
  const uint32_t base = device::shared_address(shared);
  float* const token_scales = shared_part<float>(shared, p.shape.scales_at);
  RowScales scales = {};
  if (Tile::kFp8) scales = row_scales<Tile>(p.stream, share);
  device::wait_for_inputs();
  if (Tile::kFp8) {
    copy_token_scales<Tile>(p.stream, share, token_scales);
    part_barrier(kMathBarrier, kMathThreads);
  }
  const int32_t first = share.half() * kResidentBlocks;
  const int32_t rows_at = Tile::kHalves == 1 ? static_cast<int32_t>(threadIdx.x / 128) * 64 : 0;
  const Operands from = {base + (first * Tile::kRows + rows_at) * kColumnBlockBytes,
                         base + p.shape.tokens_at + first * Tile::kTokens * kColumnBlockBytes,
                         token_scales + first * Tile::kTokens + threadIdx.x % 4 * 2,
                         barriers.weights(first)};
  float total[Tile::kSums] = {};
  device::wait_parity(barriers.tokens(), 0);
  if constexpr (Tile::kFp8) {
    fp8_product<Tile>(
        from, scales, total,
        std::make_integer_sequence<int, kResidentBlocks + kFlightOf<Tile::kTokens> - 1>());
  } else {
    bf16_product<Tile>(from, total);
  }
  put_sums<Tile>(p, share, total, shared);
}

#endif

// --- Kernel: grid [units x k_split] -------------------------------------------------------------

template <typename Tile>
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
    init_barriers(barriers);
  }
  __syncthreads();
  device::let_next_start();
  if (threadIdx.x < kMathThreads) {
    multiply<Tile>(p, share, memory, barriers);
    cluster_arrive();
    finish<Tile>(p, share, memory, barriers);
  } else {
    if (threadIdx.x == kMathThreads) ask_for_weights<Tile>(p, share, base, barriers);
    if (threadIdx.x >= kMathThreads + 32) {
      device::wait_for_inputs();
      if (threadIdx.x == kMathThreads + 32) bring_tokens<Tile>(p, share, base, barriers);
      __syncwarp();
      if (p.stream.out_kind == StreamOut::kQkv) find_places(p, memory, barriers);
    }
    __syncwarp();
    cluster_arrive();
    cluster_wait();
  }
  // Nobody reads from a block that is gone.
  __syncwarp();
  cluster_arrive();
  cluster_wait();
#endif
}

// --- Launcher -----------------------------------------------------------------------------------

template <typename Tile>
void launch_tile(const ResidentArgs& args, int32_t units, cudaStream_t stream) {
  launch(resident_kernel<Tile>,
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

template <typename Tile>
void allow_tile(int32_t bytes) {
  allow_shared(resident_kernel<Tile>, bytes);
  CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(resident_kernel<Tile>),
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

}  // namespace

Result<ResidentStream> ResidentStream::create(const DeviceContext& context, SwapStream& swap) {
  ResidentStream out(context, swap);
  if (context.capability() != 90) return out;
  TRY_ASSIGN(out.maps_, TensorMaps::create());
  allow_all<false>(context.shared_bytes_max());
  allow_all<true>(context.shared_bytes_max());
  return out;
}

std::optional<ResidentShape> ResidentStream::choose(const DeviceMatrix& w, StreamOut out_kind,
                                                    const QkvTarget* target,
                                                    int32_t num_tokens) const {
  return choose_resident(swap_->problem_of(w, out_kind, target), num_tokens);
}

void ResidentStream::run(const StreamParams& params, const ResidentShape& shape) {
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
  if (fp8) return launch_tokens<true>(args, units, context_->stream());
  launch_tokens<false>(args, units, context_->stream());
}

}  // namespace mimo::kernels::cuda::product
