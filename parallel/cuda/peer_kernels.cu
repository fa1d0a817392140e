#include "parallel/cuda/peer_kernels.h"

#include <cuda_bf16.h>

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/device/pdl.cuh"

// How ranks meet. Block b of every rank handles the same part of the message and knows only the
// blocks b of the peers, so the ranks need not agree on more than the order of their launches. A
// launch is:
//
//   1. block b copies its part of the input into its own slice of its own PeerMemory;
//   2. it meets: writes the meeting's name into its flag at every peer (release), and waits until
//      all of its own flags are at least as large (acquire);
//   3. it reads the peers' slices.
//
// Launch n + 1 uses the other of the two slices. Launch n + 2 writes into launch n's slice again,
// while a peer might still read it: it does not, since this block got past the meeting of launch
// n + 1, for which every peer's block named itself after its launch n had ended (launches of a
// stream follow one another, and a kernel touches nothing before wait_for_inputs()). So one meeting
// a launch suffices, and no flag is ever reset. A peer's flag may be ahead of the meeting waited
// for, by one launch at most: hence "at least".
//
// A block waits only for blocks that need nothing of it but its having started, so no number of
// blocks on the device is required: those that run will end.
namespace mimo::parallel::cuda {
namespace {

namespace device = mimo::kernels::device;

constexpr int64_t kVecBytes = 16;
constexpr uint32_t kSpinsPerLook = 128;  // between looks at the host's word, which crosses PCIe

// --- One instruction a function -----------------------------------------------------------------
__device__ __forceinline__ void store_release(uint64_t* flag, uint64_t value) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(flag), "l"(value) : "memory");
}
__device__ __forceinline__ uint64_t load_acquire(const uint64_t* flag) {
  uint64_t value;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(flag) : "memory");
  return value;
}
__device__ __forceinline__ uint64_t now_ns() {
  uint64_t value;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(value));
  return value;
}

// --- Vectors of 16 bytes ------------------------------------------------------------------------
// Vector v of the `bytes` bytes at `base`; beyond them zeros. `aligned`: base is, to 16 bytes.
__device__ __forceinline__ uint4 load_vec(const char* base, int64_t v, int64_t bytes,
                                          bool aligned) {
  if (aligned && (v + 1) * kVecBytes <= bytes) return reinterpret_cast<const uint4*>(base)[v];
  uint32_t words[4] = {};
#pragma unroll
  for (int i = 0; i < kVecBytes; ++i) {
    const int64_t at = v * kVecBytes + i;
    if (at < bytes) words[i / 4] |= uint32_t{static_cast<uint8_t>(base[at])} << (i % 4 * 8);
  }
  return {words[0], words[1], words[2], words[3]};
}
__device__ __forceinline__ void store_vec(char* base, int64_t v, int64_t bytes, bool aligned,
                                          const uint4& value) {
  if (aligned && (v + 1) * kVecBytes <= bytes) {
    reinterpret_cast<uint4*>(base)[v] = value;
    return;
  }
  const uint32_t words[4] = {value.x, value.y, value.z, value.w};
#pragma unroll
  for (int i = 0; i < kVecBytes; ++i) {
    const int64_t at = v * kVecBytes + i;
    if (at < bytes) base[at] = static_cast<char>(words[i / 4] >> (i % 4 * 8));
  }
}

// Sums of a vector's elements in fp32, in the order of the calls.
template <bool kBf16>
struct VecSum {
  static constexpr int kLanes = kBf16 ? 8 : 4;
  float lane[kLanes];

  static __device__ __forceinline__ float element(const uint4& v, int i) {
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
    if constexpr (!kBf16) return __uint_as_float(words[i]);
    const uint32_t word = words[i / 2];
    return __uint_as_float(i % 2 == 0 ? word << 16 : word & 0xffff0000u);
  }
  __device__ __forceinline__ void start(const uint4& v) {
#pragma unroll
    for (int i = 0; i < kLanes; ++i) lane[i] = element(v, i);
  }
  __device__ __forceinline__ void add(const uint4& v) {
#pragma unroll
    for (int i = 0; i < kLanes; ++i) lane[i] = __fadd_rn(lane[i], element(v, i));
  }
  // The one rounding.
  __device__ __forceinline__ uint4 rounded() const {
    uint32_t words[4];
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      if constexpr (kBf16) {
        const __nv_bfloat162 two = __floats2bfloat162_rn(lane[2 * w], lane[2 * w + 1]);
        words[w] = *reinterpret_cast<const uint32_t*>(&two);
      } else {
        words[w] = __float_as_uint(lane[w]);
      }
    }
    return {words[0], words[1], words[2], words[3]};
  }
};

// --- Places in PeerMemory -----------------------------------------------------------------------
__device__ __forceinline__ uint64_t* flag_of(char* memory, int32_t block, int32_t from) {
  return reinterpret_cast<uint64_t*>(memory) + block * kPeersMax + from;
}
__device__ __forceinline__ uint4* slice_of(char* memory, int32_t block, uint64_t meeting) {
  const auto half = static_cast<int32_t>(meeting / 2 % 2);
  return reinterpret_cast<uint4*>(memory + kFlagBytes +
                                  (int64_t{half} * kPeerBlocksMax + block) * kSliceBytes);
}

// --- Meeting ------------------------------------------------------------------------------------
// False when the wait was given up: aborted, or the rank silent for too long.
__device__ bool wait_for_flag(const PeerTable& table, const uint64_t* flag, uint64_t meeting,
                              int32_t from) {
  uint64_t begin_ns = 0;
  for (uint32_t spin = 1;; ++spin) {
    if (load_acquire(flag) >= meeting) return true;
    if (spin % kSpinsPerLook != 0) continue;
    if (table.words->abort != 0) break;
    if (*static_cast<volatile uint32_t*>(&table.state->ended) != 0) break;
    const uint64_t at_ns = now_ns();
    if (begin_ns == 0) begin_ns = at_ns;
    if (at_ns - begin_ns > static_cast<uint64_t>(table.timeout_ns)) {
      table.words->silent_rank = static_cast<uint32_t>(from) + 1;
      break;
    }
  }
  *static_cast<volatile uint32_t*>(&table.state->ended) = 1;
  return false;
}

// Every thread of the block calls it. What the block wrote before is seen by the peers' blocks that
// come back from the same meeting, and the other way round: the barrier's and the flag's ordering
// add up. False, in all threads, when it failed, now or in an earlier launch.
__device__ bool meet(const PeerTable& table, int32_t block, uint64_t meeting) {
  __syncthreads();
  const auto peer = static_cast<int32_t>(threadIdx.x);
  bool lost = false;
  if (peer < table.size && peer != table.rank) {
    lost = *static_cast<volatile uint32_t*>(&table.state->ended) != 0;
    if (!lost) {
      store_release(flag_of(table.memory[peer], block, table.rank), meeting);
      lost = !wait_for_flag(table, flag_of(table.memory[table.rank], block, peer), meeting, peer);
    }
  }
  return __syncthreads_or(lost) == 0;
}

// --- Steps --------------------------------------------------------------------------------------
// The part of a message that a block handles: vectors [begin, end).
struct Part {
  int64_t begin;
  int64_t end;
};

__device__ __forceinline__ Part part_of_block(int64_t bytes, int32_t vecs_per_block) {
  const int64_t num_vecs = (bytes + kVecBytes - 1) / kVecBytes;
  const int64_t begin = int64_t{blockIdx.x} * vecs_per_block;
  return {begin, min(begin + vecs_per_block, num_vecs)};
}

// The sum over ranks of vector `at` of the block's slices. All loads are on their way before the
// first addition. Past L1: it may hold what a peer's slice was two launches ago.
template <bool kBf16, int kMax>
__device__ __forceinline__ uint4 sum_over_ranks(const PeerTable& table, uint64_t meeting,
                                                int64_t at) {
  uint4 in[kMax];
#pragma unroll
  for (int r = 0; r < kMax; ++r) {
    if (r < table.size) {
      in[r] = __ldcg(slice_of(table.memory[r], static_cast<int32_t>(blockIdx.x), meeting) + at);
    }
  }
  VecSum<kBf16> sum;
  sum.start(in[0]);
#pragma unroll
  for (int r = 1; r < kMax; ++r) {
    if (r < table.size) sum.add(in[r]);
  }
  return sum.rounded();
}

// --- Kernels ------------------------------------------------------------------------------------
struct ReduceParams {
  PeerTable table;
  char* data;  // [bytes]
  int64_t bytes;
  int32_t vecs_per_block;
  bool aligned;
};

template <bool kBf16, int kMax>
__global__ void __launch_bounds__(kPeerThreads, 1)
    one_shot_kernel(const __grid_constant__ ReduceParams p) {
  device::wait_for_inputs();
  device::let_next_start();
  const auto block = static_cast<int32_t>(blockIdx.x);
  const uint64_t meeting = p.table.state->next[block];
  const Part part = part_of_block(p.bytes, p.vecs_per_block);
  uint4* const own = slice_of(p.table.memory[p.table.rank], block, meeting);
  for (int64_t v = part.begin + threadIdx.x; v < part.end; v += kPeerThreads) {
    own[v - part.begin] = load_vec(p.data, v, p.bytes, p.aligned);
  }
  if (!meet(p.table, block, meeting)) return;
  if (threadIdx.x == 0) p.table.state->next[block] = meeting + 2;
  for (int64_t v = part.begin + threadIdx.x; v < part.end; v += kPeerThreads) {
    store_vec(p.data, v, p.bytes, p.aligned,
              sum_over_ranks<kBf16, kMax>(p.table, meeting, v - part.begin));
  }
}

// Rank r adds share r of each block's part, and leaves the sum in its own slice, at a place that
// the peers do not read before the second meeting.
template <bool kBf16, int kMax>
__global__ void __launch_bounds__(kPeerThreads, 1)
    two_shot_kernel(const __grid_constant__ ReduceParams p) {
  device::wait_for_inputs();
  device::let_next_start();
  const auto block = static_cast<int32_t>(blockIdx.x);
  const uint64_t meeting = p.table.state->next[block];
  const Part part = part_of_block(p.bytes, p.vecs_per_block);
  const int64_t num_vecs = part.end - part.begin;
  const int64_t share = (num_vecs + p.table.size - 1) / p.table.size;
  uint4* const own = slice_of(p.table.memory[p.table.rank], block, meeting);
  for (int64_t at = threadIdx.x; at < num_vecs; at += kPeerThreads) {
    own[at] = load_vec(p.data, part.begin + at, p.bytes, p.aligned);
  }
  if (!meet(p.table, block, meeting)) return;

  const int64_t share_begin = p.table.rank * share;
  const int64_t share_end = min(share_begin + share, num_vecs);
  for (int64_t at = share_begin + threadIdx.x; at < share_end; at += kPeerThreads) {
    const uint4 sum = sum_over_ranks<kBf16, kMax>(p.table, meeting, at);
    own[at] = sum;
    store_vec(p.data, part.begin + at, p.bytes, p.aligned, sum);
  }
  if (!meet(p.table, block, meeting + 1)) return;
  if (threadIdx.x == 0) p.table.state->next[block] = meeting + 2;

  for (int64_t i = threadIdx.x; i < share; i += kPeerThreads) {
    uint4 sums[kMax];
#pragma unroll
    for (int r = 0; r < kMax; ++r) {
      if (r < p.table.size && r != p.table.rank && r * share + i < num_vecs) {
        sums[r] = __ldcg(slice_of(p.table.memory[r], block, meeting) + r * share + i);
      }
    }
#pragma unroll
    for (int r = 0; r < kMax; ++r) {
      if (r < p.table.size && r != p.table.rank && r * share + i < num_vecs) {
        store_vec(p.data, part.begin + r * share + i, p.bytes, p.aligned, sums[r]);
      }
    }
  }
}

struct GatherParams {
  PeerTable table;
  const char* in;      // [bytes]; may be its own place in out
  char* out;           // rank r's at out + r * out_stride
  int64_t out_stride;  // bytes
  int64_t bytes;
  int32_t vecs_per_block;
  bool aligned;
};

template <int kMax>
__global__ void __launch_bounds__(kPeerThreads, 1)
    gather_kernel(const __grid_constant__ GatherParams p) {
  device::wait_for_inputs();
  device::let_next_start();
  const auto block = static_cast<int32_t>(blockIdx.x);
  const uint64_t meeting = p.table.state->next[block];
  const Part part = part_of_block(p.bytes, p.vecs_per_block);
  uint4* const own = slice_of(p.table.memory[p.table.rank], block, meeting);
  char* const own_out = p.out + p.table.rank * p.out_stride;
  for (int64_t v = part.begin + threadIdx.x; v < part.end; v += kPeerThreads) {
    const uint4 value = load_vec(p.in, v, p.bytes, p.aligned);
    own[v - part.begin] = value;
    if (own_out != p.in) store_vec(own_out, v, p.bytes, p.aligned, value);
  }
  if (!meet(p.table, block, meeting)) return;
  if (threadIdx.x == 0) p.table.state->next[block] = meeting + 2;
  for (int64_t v = part.begin + threadIdx.x; v < part.end; v += kPeerThreads) {
    uint4 values[kMax];
#pragma unroll
    for (int r = 0; r < kMax; ++r) {
      if (r < p.table.size && r != p.table.rank) {
        values[r] = __ldcg(slice_of(p.table.memory[r], block, meeting) + v - part.begin);
      }
    }
#pragma unroll
    for (int r = 0; r < kMax; ++r) {
      if (r < p.table.size && r != p.table.rank) {
        store_vec(p.out + r * p.out_stride, v, p.bytes, p.aligned, values[r]);
      }
    }
  }
}

__global__ void meet_kernel(const __grid_constant__ PeerTable table) {
  device::wait_for_inputs();
  const uint64_t meeting = table.state->next[kPeerBlocksMax];
  if (!meet(table, kPeerBlocksMax, meeting)) return;
  if (threadIdx.x == 0) table.state->next[kPeerBlocksMax] = meeting + 2;
}

// --- Launchers ----------------------------------------------------------------------------------
struct Grid {
  int32_t num_blocks;
  int32_t vecs_per_block;
};

// The same on every rank, since it depends on the size alone.
Grid grid_for(int64_t bytes) {
  const int64_t num_vecs = (bytes + kVecBytes - 1) / kVecBytes;
  const int64_t wanted =
      std::clamp<int64_t>((num_vecs + kPeerThreads - 1) / kPeerThreads, 1, kPeerBlocksMax);
  const int64_t each = (num_vecs + wanted - 1) / wanted;
  CHECK_LE(each * kVecBytes, kSliceBytes);
  return {static_cast<int32_t>((num_vecs + each - 1) / each), static_cast<int32_t>(each)};
}

bool is_aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % kVecBytes == 0;
}

template <typename Params>
void launch(void (*kernel)(Params), const Params& params, int32_t num_blocks, cudaStream_t stream) {
  kernels::cuda::launch(
      kernel, {.grid = dim3(static_cast<unsigned>(num_blocks)), .block = dim3(kPeerThreads)},
      stream, params);
}

template <bool kBf16, int kMax>
void reduce_with(bool one_shot, const PeerTable& table, char* data, int64_t bytes,
                 cudaStream_t stream) {
  for (int64_t at = 0; at < bytes; at += kPeerLaunchBytesMax) {
    const int64_t part = std::min(kPeerLaunchBytesMax, bytes - at);
    const Grid grid = grid_for(part);
    const ReduceParams params = {table, data + at, part, grid.vecs_per_block,
                                 is_aligned(data + at)};
    launch(one_shot ? one_shot_kernel<kBf16, kMax> : two_shot_kernel<kBf16, kMax>, params,
           grid.num_blocks, stream);
  }
}

void reduce(bool one_shot, const PeerTable& table, DType dtype, void* data, int64_t bytes,
            cudaStream_t stream) {
  CHECK(dtype == DType::kF32 || dtype == DType::kBf16);
  CHECK(table.size >= 2 && table.size <= kPeersMax);
  const auto with = [&]<bool kBf16>() {
    const auto f = table.size <= 2   ? reduce_with<kBf16, 2>
                   : table.size <= 4 ? reduce_with<kBf16, 4>
                                     : reduce_with<kBf16, kPeersMax>;
    f(one_shot, table, static_cast<char*>(data), bytes, stream);
  };
  if (dtype == DType::kBf16) {
    with.template operator()<true>();
  } else {
    with.template operator()<false>();
  }
}

}  // namespace

void reduce_one_shot(const PeerTable& table, DType dtype, void* data, int64_t bytes,
                     cudaStream_t stream) {
  reduce(true, table, dtype, data, bytes, stream);
}

void reduce_two_shot(const PeerTable& table, DType dtype, void* data, int64_t bytes,
                     cudaStream_t stream) {
  reduce(false, table, dtype, data, bytes, stream);
}

void gather(const PeerTable& table, const void* in, void* out, int64_t bytes, cudaStream_t stream) {
  CHECK(table.size >= 2 && table.size <= kPeersMax);
  const auto kernel = table.size <= 2   ? gather_kernel<2>
                      : table.size <= 4 ? gather_kernel<4>
                                        : gather_kernel<kPeersMax>;
  const bool aligned = is_aligned(in) && is_aligned(out) && bytes % kVecBytes == 0;
  for (int64_t at = 0; at < bytes; at += kPeerLaunchBytesMax) {
    const int64_t part = std::min(kPeerLaunchBytesMax, bytes - at);
    const Grid grid = grid_for(part);
    const GatherParams params = {table,
                                 static_cast<const char*>(in) + at,
                                 static_cast<char*>(out) + at,
                                 bytes,
                                 part,
                                 grid.vecs_per_block,
                                 aligned};
    launch(kernel, params, grid.num_blocks, stream);
  }
}

void meet_all(const PeerTable& table, cudaStream_t stream) {
  kernels::cuda::launch(meet_kernel, {.grid = dim3(1), .block = dim3(32)}, stream, table);
}

}  // namespace mimo::parallel::cuda
