#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "parallel/cuda/peer_kernels.h"

namespace mimo::parallel::cuda {

// The memory of a device that other ranks' kernels read and write, and this device's books beside
// it: what a worker keeps from one group to the next.
//
// Thread:    one at a time; abort() any.
// Lifetime:  outlives the groups formed over it, which follow one another.
class PeerMemory final {
 public:
  // kFailedPrecondition: no such device. kResourceExhausted: it is full.
  static Result<std::unique_ptr<PeerMemory>> create(int32_t device);
  ~PeerMemory();
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;

  int32_t device() const { return device_; }
  const std::array<uint8_t, 16>& device_uuid() const { return uuid_; }
  const std::array<uint8_t, 64>& handle() const { return handle_; }
  // Of the device's memory.
  static int64_t bytes() { return kPeerMemoryBytes + static_cast<int64_t>(sizeof(PeerState)); }

  // Formations that it has been through; flags of earlier ones are too small to be taken for a
  // later one's.
  uint64_t generation() const { return generation_; }
  // For the formation `generation`, greater than the last. No kernel of an earlier one runs.
  void begin(uint64_t generation);

  char* memory() const { return memory_; }
  PeerState* state() const { return state_; }
  // As kernels see them.
  volatile PeerWords* device_words() const { return device_words_; }
  // Waiting kernels end within milliseconds, later ones at once.
  void abort() { words_->abort = 1; }
  // The rank that a kernel gave up waiting for; -1: none.
  int32_t silent_rank() const { return static_cast<int32_t>(words_->silent_rank) - 1; }

 private:
  explicit PeerMemory(int32_t device) : device_(device) {}

  const int32_t device_;
  std::array<uint8_t, 16> uuid_ = {};
  std::array<uint8_t, 64> handle_ = {};
  char* memory_ = nullptr;               // [kPeerMemoryBytes]
  PeerState* state_ = nullptr;           // on the device
  volatile PeerWords* words_ = nullptr;  // pinned
  volatile PeerWords* device_words_ = nullptr;
  uint64_t generation_ = 0;
};

// ok, or kFailedPrecondition "what: CUDA's reason".
Result<void> cuda_ok(cudaError_t error, const char* what);

}  // namespace mimo::parallel::cuda
