#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/dtype.h"
#include "parallel/cuda/choice.h"

namespace mimo::parallel::cuda {

// A rank's PeerMemory, as the others see it:
//   flags   [kPeerBlocksMax + 1][kPeersMax] uint64, written by the peers: [b][r] by rank r's block
//   b slices  [2][kPeerBlocksMax][kSliceBytes], written by the rank itself
// The last row of flags is barrier()'s.
constexpr int32_t kPeerBlocksMax = 64;
constexpr int32_t kPeerThreads = 512;
constexpr int64_t kSliceBytes = 128 * 1024;
constexpr int64_t kFlagBytes = 8192;
constexpr int64_t kPeerMemoryBytes = kFlagBytes + 2 * kPeerBlocksMax * kSliceBytes;
constexpr int64_t kPeerLaunchBytesMax = kPeerBlocksMax * kSliceBytes;  // more takes more launches
static_assert((kPeerBlocksMax + 1) * kPeersMax * 8 <= kFlagBytes, "every flag has a place");

// A device's own books, beside its PeerMemory and seen by nobody else.
struct PeerState {
  // For each block what its next meeting is called. Grows by 2 a launch; the bits from
  // kGenerationShift on are the formation's, so that flags of an earlier one are always too small.
  uint64_t next[kPeerBlocksMax + 1];
  uint32_t ended;  // a meeting failed: the launches that are still queued do nothing
};
constexpr int32_t kGenerationShift = 44;
constexpr uint64_t kGenerationMax = (uint64_t{1} << (64 - kGenerationShift)) - 1;

// Pinned, mapped memory between the host and waiting kernels.
struct PeerWords {
  uint32_t abort;        // host: waits end
  uint32_t silent_rank;  // device: 1 + the rank that a wait was given up for
};

// What every kernel gets. Pointers stay the same as long as the group lives, so that launches can
// be recorded in graphs.
struct PeerTable {
  char* memory[kPeersMax];  // rank r's PeerMemory
  PeerState* state;
  volatile PeerWords* words;
  int32_t rank;
  int32_t size;
  int64_t timeout_ns;  // of a meeting
};

// data becomes the sum over ranks, as TpGroup::all_reduce says. Any alignment; kF32 or kBf16.
//   data [bytes / dtype size]
void reduce_one_shot(const PeerTable& table, DType dtype, void* data, int64_t bytes,
                     cudaStream_t stream);
void reduce_two_shot(const PeerTable& table, DType dtype, void* data, int64_t bytes,
                     cudaStream_t stream);
// As TpGroup::all_gather.
void gather(const PeerTable& table, const void* in, void* out, int64_t bytes, cudaStream_t stream);
// Ends when every rank's has started.
void meet_all(const PeerTable& table, cudaStream_t stream);

}  // namespace mimo::parallel::cuda
