#include "kernels/cuda/tile/mma_tile.h"

#include <cuda_bf16.h>

#include <type_traits>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/tile/tile_device.cuh"
#include "kernels/device/cp_async.cuh"
#include "kernels/device/mma.cuh"
#include "kernels/device/pdl.cuh"

namespace mimo::kernels::cuda {
namespace {

// --- Tile: 128 rows of a by 128 rows of the weight, 8 warps of 64 x 32 --------
template <DType kDType_, TileOut kOut_>
struct Tile {
  static constexpr TileOut kOut = kOut_;
  static constexpr bool kScaled = kDType_ == DType::kF8E4m3;
  static constexpr int kSize = kScaled ? 1 : 2;  // bytes of an element
  static constexpr int kThreads = 256;
  static constexpr int kLine = 128;  // bytes of a row in a stage: one scale's columns of e4m3
  static constexpr int kOperand = kTileRows * kLine;
  static constexpr int kStage = 2 * kOperand;
  static constexpr int kStages = 3;  // 96 KB: what every part from SM86 on allows
  static constexpr int kOutCols = kOut == TileOut::kSiluMul ? 64 : 128;
  using Out = std::conditional_t<kOut == TileOut::kF32, float, __nv_bfloat16>;
};

using Sums = float[4][4][4];  // [16-row fragment][8-column fragment][c of mma.cuh]

// --- Steps ------------------------------------------------------------------
// The weight's row behind row `line` of the stage, and the output column of it, inside the tile.
// With kSiluMul a warp's 32 lines are 16 gate rows and the 16 up rows of the same columns, so that
// one thread has both sums.
template <typename Tile>
__device__ __forceinline__ int32_t line_col(int line) {
  if (Tile::kOut != TileOut::kSiluMul) return line;
  return line / 32 * 16 + line % 16;
}
template <typename Tile>
__device__ __forceinline__ int32_t line_row(const TileArgs& p, int line) {
  const int32_t col = blockIdx.x * Tile::kOutCols + line_col<Tile>(line);
  return Tile::kOut == TileOut::kSiluMul && line % 32 >= 16 ? p.out_cols + col : col;
}
template <typename Tile>
__device__ __forceinline__ bool line_there(const TileArgs& p, int line) {
  return static_cast<int32_t>(blockIdx.x) * Tile::kOutCols + line_col<Tile>(line) < p.out_cols;
}

// Each thread copies one 16-byte chunk of every 32nd row.
template <typename Tile>
struct Loader {
  static constexpr int kRows = kTileRows / 32;

  __device__ Loader(const TileArgs& p, const RowTile& tile) {
    chunk = threadIdx.x % 8 * 16;
    row = threadIdx.x / 8;
    a_bytes = p.cols * Tile::kSize;
    w_bytes = p.ld * Tile::kSize;
    const auto* const w_begin =
        static_cast<const uint8_t*>(p.w) + int64_t{tile.expert} * p.rows * w_bytes;
    for (int i = 0; i < kRows; ++i) {
      const int line = row + 32 * i;
      a_there[i] = line < tile.rows;
      w_there[i] = line_there<Tile>(p, line);
      const int32_t from = a_there[i] ? source_row(p, tile.first + line) : 0;
      a[i] = static_cast<const uint8_t*>(p.a) + int64_t{from} * a_bytes;
      w[i] = w_begin + (w_there[i] ? int64_t{line_row<Tile>(p, line)} * w_bytes : 0);
    }
  }

  // Zeros past the tile's rows and past the last column.
  __device__ __forceinline__ void load(uint32_t stage, int32_t block) const {
    const int32_t at = block * Tile::kLine + chunk;
    const uint32_t to = stage + row * Tile::kLine + (chunk ^ (row % 8 * 16));
    const bool a_in = at < a_bytes;
    const bool w_in = at < w_bytes;
    for (int i = 0; i < kRows; ++i) {
      const uint32_t line = to + 32 * i * Tile::kLine;
      if (a_bytes % 16 == 0) {
        device::copy_async_16(line, a[i] + (a_in ? at : 0), a_there[i] && a_in);
      } else {
        const bool second_in = at + 8 < a_bytes;
        device::copy_async_8(line, a[i] + (a_in ? at : 0), a_there[i] && a_in);
        device::copy_async_8(line + 8, a[i] + (second_in ? at + 8 : 0), a_there[i] && second_in);
      }
      device::copy_async_16(line + Tile::kOperand, w[i] + (w_in ? at : 0), w_there[i] && w_in);
    }
  }

  const uint8_t* a[kRows];
  const uint8_t* w[kRows];
  bool a_there[kRows];
  bool w_there[kRows];
  int32_t a_bytes, w_bytes, chunk, row;
};

// The four e4m3 values of a register as the f16 pairs of one fragment. A fragment's columns come in
// another order than memory's, the same one for both operands.
__device__ __forceinline__ uint32_t low_f16(uint32_t x) {
  return device::e4m3x2_to_f16x2(static_cast<uint16_t>(x));
}
__device__ __forceinline__ uint32_t high_f16(uint32_t x) {
  return device::e4m3x2_to_f16x2(static_cast<uint16_t>(x >> 16));
}

// sums += the products of 32 bytes of columns, chunks 2 `step` and the next of the stage.
template <typename Tile>
__device__ __forceinline__ void multiply(uint32_t stage, int step, Sums& sums) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const uint32_t turn = lane % 8;
  const uint32_t w_line = warp % 4 * 32 + lane % 8 + lane / 16 * 8;
  const uint32_t w_at =
      stage + Tile::kOperand + w_line * Tile::kLine + (((2 * step + lane / 8 % 2) ^ turn) * 16);
  uint32_t w[2][4];
  device::load_matrix_x4(w[0], w_at);
  device::load_matrix_x4(w[1], w_at + 16 * Tile::kLine);
  const uint32_t a_line = warp / 4 * 64 + lane % 16;
  const uint32_t a_at = stage + a_line * Tile::kLine + (((2 * step + lane / 16) ^ turn) * 16);
  uint32_t halves[2][4][2];  // e4m3: of each 16 bytes, of each 8 rows of the weight
  if constexpr (Tile::kScaled) {
    for (int n = 0; n < 4; ++n) {
      for (int part = 0; part < 2; ++part) {
        const uint32_t x = w[n / 2][n % 2 * 2 + part];
        halves[part][n][0] = low_f16(x);
        halves[part][n][1] = high_f16(x);
      }
    }
  }
#pragma unroll
  for (int m = 0; m < 4; ++m) {
    uint32_t a[4];
    device::load_matrix_x4(a, a_at + m * 16 * Tile::kLine);
    if constexpr (Tile::kScaled) {
      for (int part = 0; part < 2; ++part) {
        const uint32_t top = a[2 * part], bottom = a[2 * part + 1];
        const uint32_t wide[4] = {low_f16(top), low_f16(bottom), high_f16(top), high_f16(bottom)};
        for (int n = 0; n < 4; ++n) device::mma_f16(sums[m][n], wide, halves[part][n]);
      }
    } else {
      for (int n = 0; n < 4; ++n) {
        const uint32_t pair[2] = {w[n / 2][n % 2 * 2], w[n / 2][n % 2 * 2 + 1]};
        device::mma_bf16(sums[m][n], a, pair);
      }
    }
  }
}

// Where the scales of a thread's rows and columns begin. Rows and columns that are not there take
// the tile's first.
template <typename Tile>
struct Scales {
  __device__ Scales(const TileArgs& p, const RowTile& tile) {
    if constexpr (Tile::kScaled) {
      const int lane = threadIdx.x % 32;
      const int warp = threadIdx.x / 32;
      for (int i = 0; i < 8; ++i) {
        const int line = warp / 4 * 64 + i * 8 + lane / 4;
        const int32_t row = source_row(p, tile.first + (line < tile.rows ? line : 0));
        a[i] = p.a_scales + int64_t{row} * p.scale_cols;
      }
      const float* const begin = p.w_scales + int64_t{tile.expert} * p.scale_rows * p.scale_cols;
      for (int i = 0; i < 8; ++i) {
        const int line = warp % 4 * 32 + i / 2 * 8 + lane % 4 * 2 + i % 2;
        const int32_t row = line_there<Tile>(p, line) ? line_row<Tile>(p, line) : 0;
        w[i] = begin + int64_t{row / p.rows_per_scale} * p.scale_cols;
      }
    }
  }

  // total += sums * both scales; sums = 0.
  __device__ __forceinline__ void promote(int32_t block, Sums& sums, Sums& total) const {
    float row_scale[8];
    for (int i = 0; i < 8; ++i) row_scale[i] = a[i][block];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const float col_scale[2] = {w[2 * n][block], w[2 * n + 1][block]};
#pragma unroll
      for (int m = 0; m < 4; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          total[m][n][i] += sums[m][n][i] * (row_scale[2 * m + i / 2] * col_scale[i % 2]);
          sums[m][n][i] = 0;
        }
      }
    }
  }

  const float* a[8];
  const float* w[8];
};

template <typename Tile>
__device__ __forceinline__ void store(const TileArgs& p, const RowTile& tile, const Sums& sums) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int line = warp / 4 * 64 + i * 8 + lane / 4;
    if (line >= tile.rows) continue;
    auto* const row =
        static_cast<typename Tile::Out*>(p.out) + int64_t{tile.first + line} * p.out_cols;
    const int32_t first = blockIdx.x * Tile::kOutCols + lane % 4 * 2;
    const int m = i / 2, at = i % 2 * 2;
    if constexpr (Tile::kOut == TileOut::kSiluMul) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        store_pair(row, first + warp % 4 * 16 + n * 8, p.out_cols,
                   silu_mul(sums[m][n][at], sums[m][n + 2][at]),
                   silu_mul(sums[m][n][at + 1], sums[m][n + 2][at + 1]));
      }
    } else {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        store_pair(row, first + warp % 4 * 32 + n * 8, p.out_cols, sums[m][n][at],
                   sums[m][n][at + 1]);
      }
    }
  }
}

// --- Kernel: grid [output columns / kOutCols, row tiles] ---------------------
template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    mma_tile_kernel(const __grid_constant__ TileArgs p) {
  extern __shared__ __align__(128) uint8_t shared[];
  device::wait_for_inputs();
  device::let_next_start();
  if (static_cast<int32_t>(blockIdx.y) >= num_row_tiles(p)) return;
  const RowTile tile = row_tile(p, blockIdx.y);
  const Loader<Tile> loader(p, tile);
  const Scales<Tile> scales(p, tile);
  const uint32_t stages = device::shared_address(shared);
  const int32_t num_blocks = (p.cols * Tile::kSize + Tile::kLine - 1) / Tile::kLine;
  for (int s = 0; s < Tile::kStages - 1; ++s) {
    if (s < num_blocks) loader.load(stages + s * Tile::kStage, s);
    device::copy_async_commit();
  }

  Sums total = {};
  Sums sums = {};
  for (int32_t block = 0; block < num_blocks; ++block) {
    device::copy_async_wait<Tile::kStages - 2>();
    // Everyone's copies are seen, and everyone is done with the stage that is filled next.
    __syncthreads();
    const int32_t next = block + Tile::kStages - 1;
    if (next < num_blocks) loader.load(stages + next % Tile::kStages * Tile::kStage, next);
    device::copy_async_commit();
    const uint32_t stage = stages + block % Tile::kStages * Tile::kStage;
#pragma unroll
    for (int step = 0; step < Tile::kLine / 32; ++step) {
      if constexpr (Tile::kScaled) {
        multiply<Tile>(stage, step, sums);
      } else {
        multiply<Tile>(stage, step, total);
      }
    }
    if constexpr (Tile::kScaled) scales.promote(block, sums, total);
  }
  store<Tile>(p, tile, total);
}

template <DType kDType, TileOut kOut>
void start(const TileArgs& p, int32_t num_row_tiles, cudaStream_t stream) {
  using Chosen = Tile<kDType, kOut>;
  LaunchShape shape;
  shape.grid = dim3((p.out_cols + Chosen::kOutCols - 1) / Chosen::kOutCols, num_row_tiles);
  shape.block = Chosen::kThreads;
  shape.shared_bytes = Chosen::kStages * Chosen::kStage;
  launch(mma_tile_kernel<Chosen>, shape, stream, p);
}

template <DType kDType>
void start(const TileArgs& p, TileOut out, int32_t num_row_tiles, cudaStream_t stream) {
  switch (out) {
    case TileOut::kBf16:
      return start<kDType, TileOut::kBf16>(p, num_row_tiles, stream);
    case TileOut::kF32:
      return start<kDType, TileOut::kF32>(p, num_row_tiles, stream);
    case TileOut::kSiluMul:
      return start<kDType, TileOut::kSiluMul>(p, num_row_tiles, stream);
  }
}

template <DType kDType, TileOut kOut>
void allow() {
  using Chosen = Tile<kDType, kOut>;
  allow_shared(mma_tile_kernel<Chosen>, Chosen::kStages * Chosen::kStage);
}

}  // namespace

// --- Launcher ---------------------------------------------------------------
void prepare_mma_tile() {
  allow<DType::kBf16, TileOut::kBf16>();
  allow<DType::kBf16, TileOut::kF32>();
  allow<DType::kBf16, TileOut::kSiluMul>();
  allow<DType::kF8E4m3, TileOut::kBf16>();
  allow<DType::kF8E4m3, TileOut::kF32>();
  allow<DType::kF8E4m3, TileOut::kSiluMul>();
}

void mma_tile(const TileArgs& p, DType dtype, TileOut out, int32_t num_row_tiles,
              cudaStream_t stream) {
  CHECK_EQ(p.cols % 8, 0);
  CHECK_LE(num_row_tiles, 65535);
  if (dtype == DType::kF8E4m3) return start<DType::kF8E4m3>(p, out, num_row_tiles, stream);
  start<DType::kBf16>(p, out, num_row_tiles, stream);
}

}  // namespace mimo::kernels::cuda
