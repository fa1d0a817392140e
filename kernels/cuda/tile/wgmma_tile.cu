#include "kernels/cuda/tile/wgmma_tile.h"

#include <cuda_bf16.h>

#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/tile/tile_device.cuh"
#include "kernels/device/cp_async.cuh"
#include "kernels/device/mbarrier.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"
#include "kernels/device/quad.cuh"
#include "kernels/device/tma.cuh"
#include "kernels/device/wgmma.cuh"

namespace mimo::kernels::cuda {
namespace {

// --- Tile: 128 rows of a by 128 or 256 rows of the weight -------------------
// Warpgroup 0 fills a ring of stages, warpgroups 1 and 2 multiply. Narrow: each takes 64 rows of a.
// Wide: each takes all rows and its own half of the weight's rows, so that a quarter less crosses
// the L2 cache for each product.
template <bool kWide_>
struct Tile {
  static constexpr bool kWide = kWide_;
  static constexpr int kThreads = 384;
  static constexpr int kHalves = kWide ? 2 : 1;  // of 128 weight rows
  static constexpr int kBlock = 128;             // columns of a stage: those of one scale
  static constexpr int kOperand = 128 * kBlock;  // bytes of 128 rows in a stage
  static constexpr int kStage = kOperand * (1 + kHalves);
  static constexpr int kStages = kWide ? 4 : 6;
  static constexpr int kLag = kWide ? 2 : 3;  // stages whose gathered copies are under way
  static constexpr int kShared = kStages * kStage + 1024 + 2 * kStages * 8;
  static_assert(kLag < kStages, "a stage is handed over before its successors are all filled");
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int kConsumerWarps = 8;
// Of a thread: 40 * 128 + 232 * 256 is what 384 threads of 168 start with.
constexpr int kProducerRegisters = 40;
constexpr int kConsumerRegisters = 232;

// --- Steps ------------------------------------------------------------------
// The stages in their order, again and again: the barriers that tell a stage is full and empty, and
// which parity the present round's phases have.
template <typename Tile>
struct Ring {
  __device__ explicit Ring(uint32_t base) : stages(base) {}
  __device__ __forceinline__ uint32_t stage() const { return stages + at * Tile::kStage; }
  __device__ __forceinline__ uint32_t full() const {
    return stages + Tile::kStages * Tile::kStage + at * 8;
  }
  __device__ __forceinline__ uint32_t empty() const { return full() + Tile::kStages * 8; }
  __device__ __forceinline__ void advance() {
    if (++at < Tile::kStages) return;
    at = 0;
    parity ^= 1;
  }

  uint32_t stages;
  int at = 0;
  uint32_t parity = 0;
};

template <typename Tile>
__device__ void init_ring(uint32_t stages, bool gathers) {
  Ring<Tile> ring(stages);
  for (int s = 0; s < Tile::kStages; ++s) {
    device::init_barrier(ring.full(), gathers ? 1 + 128 : 1);
    device::init_barrier(ring.empty(), kConsumerWarps);
    ring.advance();
  }
  device::fence_barriers();
}

// The first output column of a half; there is work in it if it is below out_cols.
template <typename Tile>
__device__ __forceinline__ int32_t half_col(const WgmmaArgs& p, int32_t col_tile, int half) {
  return (col_tile * Tile::kHalves + half) * (p.out == TileOut::kSiluMul ? 64 : 128);
}
// The first weight row of a half's lower or upper 64 rows: with kSiluMul the gate and up rows of
// the same columns.
__device__ __forceinline__ int32_t box_row(const WgmmaArgs& p, int32_t col, int upper) {
  return col + upper * (p.out == TileOut::kSiluMul ? p.tile.out_cols : 64);
}

// One thread: the weight's part of a stage, and the rows of `a` where they are not gathered.
template <typename Tile>
__device__ __forceinline__ void fill_boxes(const WgmmaArgs& p, const RowTile& tile,
                                           int32_t col_tile, int32_t block, bool with_a,
                                           const Ring<Tile>& ring) {
  int num_halves = 1;
  if (Tile::kWide && half_col<Tile>(p, col_tile, 1) < p.tile.out_cols) num_halves = 2;
  device::arrive_expecting(ring.full(), Tile::kOperand * (num_halves + (with_a ? 1 : 0)));
  const int32_t x = block * Tile::kBlock;
  if (with_a) device::load_box_2d(ring.stage(), p.a_map, x, tile.first, ring.full());
  for (int half = 0; half < num_halves; ++half) {
    const int32_t col = half_col<Tile>(p, col_tile, half);
    const uint32_t to = ring.stage() + Tile::kOperand * (1 + half);
    for (int upper = 0; upper < 2; ++upper) {
      device::load_box_3d(to + upper * kWBoxRows * Tile::kBlock, p.w_map, x, box_row(p, col, upper),
                          tile.expert, ring.full());
    }
  }
}

// Rows of `a` as they lie: one thread does it all.
template <typename Tile>
__device__ void produce(const WgmmaArgs& p, uint32_t stages) {
  const int32_t num_tiles = num_row_tiles(p.tile) * p.num_col_tiles;
  Ring<Tile> ring(stages);
  const int32_t num_blocks = p.tile.cols / Tile::kBlock;
  for (int32_t i = blockIdx.x; i < num_tiles; i += gridDim.x) {
    const RowTile tile = row_tile(p.tile, i / p.num_col_tiles);
    for (int32_t block = 0; block < num_blocks; ++block) {
      device::wait_parity(ring.empty(), ring.parity ^ 1);
      fill_boxes<Tile>(p, tile, i % p.num_col_tiles, block, true, ring);
      ring.advance();
    }
  }
}

// Rows of `a` from anywhere: 128 threads copy them as TMA would have laid them, eight threads a
// row. A stage is handed over kLag stages later, when its copies have ended.
template <typename Tile>
__device__ void produce_gathered(const WgmmaArgs& p, uint32_t stages) {
  const int32_t num_tiles = num_row_tiles(p.tile) * p.num_col_tiles;
  constexpr int kRows = 8;
  const int row = threadIdx.x / 8;
  const uint32_t chunk = threadIdx.x % 8;
  const uint32_t to = row * Tile::kBlock + (chunk ^ (row % 8)) * 16;
  const int32_t num_blocks = p.tile.cols / Tile::kBlock;
  const auto* const a = static_cast<const uint8_t*>(p.tile.a) + chunk * 16;
  Ring<Tile> ring(stages);
  Ring<Tile> filled(stages);
  int32_t pending = 0;
  for (int32_t i = blockIdx.x; i < num_tiles; i += gridDim.x) {
    const RowTile tile = row_tile(p.tile, i / p.num_col_tiles);
    uint32_t from[kRows];  // in units of a stage's row
    for (int r = 0; r < kRows; ++r) {
      const bool there = row + 16 * r < tile.rows;
      from[r] = there ? source_row(p.tile, tile.first + row + 16 * r) * num_blocks : 0;
    }
    for (int32_t block = 0; block < num_blocks; ++block) {
      device::wait_parity(ring.empty(), ring.parity ^ 1);
      if (threadIdx.x == 0) fill_boxes<Tile>(p, tile, i % p.num_col_tiles, block, false, ring);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const uint8_t* const line = a + uint64_t{from[r] + block} * Tile::kBlock;
        device::copy_async_16(ring.stage() + to + r * 16 * Tile::kBlock, line,
                              row + 16 * r < tile.rows);
      }
      device::copy_async_commit();
      ring.advance();
      if (++pending <= Tile::kLag) continue;
      device::copy_async_wait<Tile::kLag>();
      device::fence_shared_for_async();
      device::arrive(filled.full());
      filled.advance();
      --pending;
    }
  }
  device::copy_async_wait<0>();
  device::fence_shared_for_async();
  for (; pending > 0; --pending) {
    device::arrive(filled.full());
    filled.advance();
  }
}

// Where the scales of a thread's rows, and of its lower and upper 64 weight rows, begin.
template <int kSubTiles>
struct Scales {
  __device__ Scales(const WgmmaArgs& p, const RowTile& tile, int32_t col, int first_line) {
    for (int i = 0; i < 2 * kSubTiles; ++i) {
      const int line = first_line + i / 2 * 64 + i % 2 * 8;
      const int32_t row = tile.first + (line < tile.rows ? line : 0);
      a[i] = source_row(p.tile, row) * p.tile.scale_cols;
    }
    for (int upper = 0; upper < 2; ++upper) {
      const int32_t row = min(box_row(p, col, upper), p.tile.rows - 1) / p.tile.rows_per_scale;
      w[upper] = (tile.expert * p.tile.scale_rows + row) * p.tile.scale_cols;
    }
  }

  int32_t a[2 * kSubTiles];
  int32_t w[2];
};

// total += the products of one stage, which is empty afterwards.
template <typename Tile, int kSubTiles>
__device__ __forceinline__ void consume(const WgmmaArgs& p, const Scales<kSubTiles>& scales,
                                        int32_t block, int group, const Ring<Tile>& ring,
                                        float (&sums)[64], float (&total)[kSubTiles][64]) {
  float a_scale[2 * kSubTiles];
  for (int i = 0; i < 2 * kSubTiles; ++i) a_scale[i] = p.tile.a_scales[scales.a[i] + block];
  const float lower_scale = p.tile.w_scales[scales.w[0] + block];
  const float upper_scale = p.tile.w_scales[scales.w[1] + block];
  const uint32_t a = ring.stage() + (Tile::kWide ? 0 : group * 64 * Tile::kBlock);
  const uint32_t w = ring.stage() + Tile::kOperand * (1 + (Tile::kWide ? group : 0));
  device::wait_parity(ring.full(), ring.parity);
#pragma unroll
  for (int m = 0; m < kSubTiles; ++m) {
    device::hold(sums);
    device::wgmma_begin();
#pragma unroll
    for (int step = 0; step < Tile::kBlock / 32; ++step) {
      device::wgmma_e4m3_64x128(sums, device::operand_128b(a + m * 64 * Tile::kBlock + step * 32),
                                device::operand_128b(w + step * 32), step > 0);
    }
    device::wgmma_commit();
    device::wgmma_wait<0>();
    device::hold(sums);
    if (m == kSubTiles - 1 && threadIdx.x % 32 == 0) device::arrive(ring.empty());
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      const float scale = a_scale[2 * m + i / 2 % 2] * (i < 32 ? lower_scale : upper_scale);
      total[m][i] += sums[i] * scale;
    }
  }
}

// kGroups groups of eight columns of one row; value(j, i) is column 8 j + 2 (lane % 4) + i.
template <int kGroups, typename Value>
__device__ __forceinline__ void store_row(__nv_bfloat16* row, bool there, int32_t col, int32_t cols,
                                          const Value& value) {
  const int pair = threadIdx.x % 4;
  if (cols % 8 != 0) {
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      if (there) store_pair(row, col + 8 * j + 2 * pair, cols, value(j, 0), value(j, 1));
    }
    return;
  }
#pragma unroll
  for (int j = 0; j < kGroups; j += 4) {
    uint32_t v[4];
    for (int k = 0; k < 4; ++k) v[k] = device::pack_bf16(value(j + k, 0), value(j + k, 1));
    device::turn_quad(v);
    const int32_t at = col + 8 * (j + pair);
    if (there && at < cols)
      *reinterpret_cast<uint4*>(row + at) = make_uint4(v[0], v[1], v[2], v[3]);
  }
}

// The tile's rows `line` and `line` + 8: one sub-tile of a thread.
__device__ __forceinline__ void store(const WgmmaArgs& p, const RowTile& tile, int32_t col,
                                      int line, const float (&total)[64]) {
  const int32_t cols = p.tile.out_cols;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t at = int64_t{tile.first + line + 8 * half} * cols;
    const bool there = line + 8 * half < tile.rows;
    auto* const row = static_cast<__nv_bfloat16*>(p.tile.out) + at;
    const auto sum = [&](int j, int i) { return total[4 * j + 2 * half + i]; };
    if (p.out == TileOut::kSiluMul) {
      store_row<8>(row, there, col, cols,
                   [&](int j, int i) { return silu_mul(sum(j, i), sum(j + 8, i)); });
    } else if (p.out == TileOut::kBf16) {
      store_row<16>(row, there, col, cols, sum);
    } else if (there) {
      auto* const wide_row = static_cast<float*>(p.tile.out) + at;
#pragma unroll
      for (int j = 0; j < 16; ++j) {
        store_pair(wide_row, col + 8 * j + threadIdx.x % 4 * 2, cols, sum(j, 0), sum(j, 1));
      }
    }
  }
}

// A warpgroup's part of a tile: kSubTiles times 64 rows by 128 weight rows.
template <typename Tile, int kSubTiles>
__device__ __forceinline__ void multiply_tile(const WgmmaArgs& p, const RowTile& tile, int32_t col,
                                              int first_line, int group, Ring<Tile>& ring,
                                              float (&sums)[64]) {
  const Scales<kSubTiles> scales(p, tile, col, first_line);
  const int32_t num_blocks = p.tile.cols / Tile::kBlock;
  float total[kSubTiles][64] = {};
  for (int32_t block = 0; block < num_blocks; ++block) {
    consume<Tile, kSubTiles>(p, scales, block, group, ring, sums, total);
    ring.advance();
  }
#pragma unroll
  for (int m = 0; m < kSubTiles; ++m) store(p, tile, col, first_line + m * 64, total[m]);
}

// Warpgroups 1 and 2 are groups 0 and 1. One that has no part in a tile lets its stages pass; the
// last rows of an expert are often few, so that half of a tile's products are left out.
template <typename Tile>
__device__ void multiply_tiles(const WgmmaArgs& p, uint32_t stages) {
  const int32_t num_tiles = num_row_tiles(p.tile) * p.num_col_tiles;
  const int group = threadIdx.x / 128 - 1;
  const int lane = threadIdx.x % 32;
  const int first_line = (Tile::kWide ? 0 : group * 64) + threadIdx.x % 128 / 32 * 16 + lane / 4;
  Ring<Tile> ring(stages);
  float sums[64] = {};
  for (int32_t i = blockIdx.x; i < num_tiles; i += gridDim.x) {
    const RowTile tile = row_tile(p.tile, i / p.num_col_tiles);
    const int32_t col = half_col<Tile>(p, i % p.num_col_tiles, Tile::kWide ? group : 0);
    const bool few = tile.rows <= 64;
    if (col >= p.tile.out_cols || (!Tile::kWide && group == 1 && few)) {
      for (int32_t block = 0; block < p.tile.cols / Tile::kBlock; ++block) {
        device::wait_parity(ring.full(), ring.parity);
        __syncwarp();
        if (lane == 0) device::arrive(ring.empty());
        ring.advance();
      }
    } else if (Tile::kWide && !few) {
      multiply_tile<Tile, 2>(p, tile, col, first_line, group, ring, sums);
    } else {
      multiply_tile<Tile, 1>(p, tile, col, first_line, group, ring, sums);
    }
  }
}

#endif

// --- Kernel: grid [as many blocks as run at once] ---------------------------
template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    wgmma_tile_kernel(const __grid_constant__ WgmmaArgs p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ uint8_t shared[];
  const uint32_t stages = (device::shared_address(shared) + 1023) & ~1023u;
  const bool gathers = p.tile.a_rows != nullptr;
  if (threadIdx.x == 0) {
    device::prefetch_map(p.w_map);
    if (!gathers) device::prefetch_map(p.a_map);
    init_ring<Tile>(stages, gathers);
  }
  __syncthreads();
  device::wait_for_inputs();
  device::let_next_start();
  if (threadIdx.x < 128) {
    device::give_registers<kProducerRegisters>();
    if (gathers) {
      produce_gathered<Tile>(p, stages);
    } else if (threadIdx.x == 0) {
      produce<Tile>(p, stages);
    }
  } else {
    device::take_registers<kConsumerRegisters>();
    multiply_tiles<Tile>(p, stages);
  }
#endif
}

template <bool kWide>
void start(const WgmmaArgs& p, int32_t num_row_tiles, int32_t num_sms, cudaStream_t stream) {
  using Chosen = Tile<kWide>;
  LaunchShape shape;
  shape.grid = dim3(
      static_cast<unsigned>(std::min<int64_t>(int64_t{num_row_tiles} * p.num_col_tiles, num_sms)));
  shape.block = Chosen::kThreads;
  shape.shared_bytes = Chosen::kShared;
  launch(wgmma_tile_kernel<Chosen>, shape, stream, p);
}

}  // namespace

// --- Launcher ---------------------------------------------------------------
void prepare_wgmma_tile() {
  allow_shared(wgmma_tile_kernel<Tile<false>>, Tile<false>::kShared);
  allow_shared(wgmma_tile_kernel<Tile<true>>, Tile<true>::kShared);
}

void wgmma_tile(const CUtensorMap& a_map, const CUtensorMap& w_map, const TileArgs& p, TileOut out,
                bool wide, int32_t num_row_tiles, int32_t num_sms, cudaStream_t stream) {
  CHECK_EQ(p.cols % Tile<true>::kBlock, 0);
  WgmmaArgs args;
  args.a_map = a_map;
  args.w_map = w_map;
  args.tile = p;
  args.out = out;
  const int32_t tile_cols = (wide ? 2 : 1) * (out == TileOut::kSiluMul ? 64 : 128);
  args.num_col_tiles = (p.out_cols + tile_cols - 1) / tile_cols;
  CHECK_LE(int64_t{num_row_tiles} * args.num_col_tiles, int64_t{INT32_MAX});
  if (wide) return start<true>(args, num_row_tiles, num_sms, stream);
  start<false>(args, num_row_tiles, num_sms, stream);
}

}  // namespace mimo::kernels::cuda
