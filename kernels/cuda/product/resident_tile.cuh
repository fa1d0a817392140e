#pragma once

#include <cstdint>

#include "kernels/cuda/product/resident_args.h"
#include "kernels/device/mbarrier.cuh"

// Who does what in a block of ResidentStream's kernel, and where.
namespace mimo::kernels::cuda::product {

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
constexpr int kWarps = kThreads / 32;

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int kMathBarrier = 1;  // __syncthreads() is 0

// --- Shared memory ------------------------------------------------------------------------------

struct Barriers {
  __device__ __forceinline__ uint32_t weights(int32_t block) const { return at + block * 8; }
  __device__ __forceinline__ uint32_t tokens() const { return weights(2 * kResidentBlocks); }
  __device__ __forceinline__ uint32_t places() const { return tokens() + 8; }
  __device__ __forceinline__ uint32_t sums() const { return places() + 8; }

  uint32_t at;
};

// Of the sums that a block adds up, its own among them.
template <typename Tile>
constexpr int32_t kSumBytes = Tile::kTokens * 128 * 4;

// A block that is a cluster by itself sends nothing: SM90 has no such instruction for it.
__device__ __forceinline__ bool is_alone(const ResidentShape& shape) { return shape.k_split == 1; }

template <typename Tile>
__device__ __forceinline__ void init_barriers(const ResidentShape& shape, Barriers barriers) {
  for (int32_t b = 0; b < 2 * kResidentBlocks; ++b) device::init_barrier(barriers.weights(b), 1);
  device::init_barrier(barriers.tokens(), 1);
  device::init_barrier(barriers.places(), 32);
  device::init_barrier(barriers.sums(), is_alone(shape) ? kMathThreads : 1);
  device::fence_barriers();
  if (!is_alone(shape)) device::arrive_expecting(barriers.sums(), kSumBytes<Tile>);
}

// Which part of the product is this block's, and which of that this thread's warpgroup's.
template <typename Tile>
struct Share {
  __device__ explicit Share(const ResidentShape& shape)
      : unit(static_cast<int32_t>(blockIdx.x) / shape.k_split),
        slice(static_cast<int32_t>(blockIdx.x) % shape.k_split),
        group(__shfl_sync(~0u, static_cast<int32_t>(threadIdx.x / 128), 0)) {}

  __device__ __forceinline__ int32_t half() const { return Tile::kHalves == 1 ? 0 : group; }
  // Of the unit, those of a math warp.
  __device__ __forceinline__ int32_t sixteen() const {
    return static_cast<int32_t>(threadIdx.x / 32) % (Tile::kRows / kStreamRows);
  }
  __device__ __forceinline__ int32_t first_byte() const {
    return slice * Tile::kBlocks * kColumnBlockBytes;
  }

  int32_t unit;
  int32_t slice;  // and the block's rank in its cluster
  int32_t group;  // the warpgroup, known to be the whole warp's
};

#endif

}  // namespace mimo::kernels::cuda::product
