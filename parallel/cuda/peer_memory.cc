#include "parallel/cuda/peer_memory.h"

#include <cstring>
#include <string>

#include "base/check.h"
#include "base/log.h"
#include "kernels/cuda/cuda_check.h"

namespace mimo::parallel::cuda {

Result<void> cuda_ok(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return {};
  (void)cudaGetLastError();
  return Error{
      error == cudaErrorMemoryAllocation ? Code::kResourceExhausted : Code::kFailedPrecondition,
      std::string(what) + ": " + cudaGetErrorString(error)};
}

Result<std::unique_ptr<PeerMemory>> PeerMemory::create(int32_t device) {
  std::unique_ptr<PeerMemory> out(new PeerMemory(device));
  TRY(cuda_ok(cudaSetDevice(device), "cudaSetDevice"));
  cudaDeviceProp properties;
  TRY(cuda_ok(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties"));
  static_assert(sizeof(properties.uuid) == sizeof(out->uuid_), "a device's UUID has 16 bytes");
  std::memcpy(out->uuid_.data(), &properties.uuid, out->uuid_.size());

  void* memory = nullptr;
  TRY(cuda_ok(cudaMalloc(&memory, kPeerMemoryBytes), "cudaMalloc of the peers' memory"));
  out->memory_ = static_cast<char*>(memory);
  TRY(cuda_ok(cudaMalloc(&memory, sizeof(PeerState)), "cudaMalloc of the peers' state"));
  out->state_ = static_cast<PeerState*>(memory);
  TRY(cuda_ok(cudaHostAlloc(&memory, sizeof(PeerWords), cudaHostAllocMapped), "cudaHostAlloc"));
  out->words_ = static_cast<PeerWords*>(memory);
  TRY(cuda_ok(cudaHostGetDevicePointer(&memory, memory, 0), "cudaHostGetDevicePointer"));
  out->device_words_ = static_cast<PeerWords*>(memory);
  TRY(cuda_ok(cudaMemset(out->memory_, 0, kPeerMemoryBytes), "cudaMemset"));
  TRY(cuda_ok(cudaDeviceSynchronize(), "cudaDeviceSynchronize"));
  out->begin(0);

  cudaIpcMemHandle_t handle;
  static_assert(sizeof(handle) == sizeof(out->handle_), "an IPC handle has 64 bytes");
  // Without a handle (a container that forbids it) nobody else can open this memory, which the
  // group finds out when it forms.
  if (const auto got = cuda_ok(cudaIpcGetMemHandle(&handle, out->memory_), "cudaIpcGetMemHandle");
      !got.ok()) {
    log_warning("peer_memory_not_shared", {{"device", device}, {"reason", got.error().message}});
  } else {
    std::memcpy(out->handle_.data(), &handle, sizeof(handle));
  }
  return out;
}

PeerMemory::~PeerMemory() {
  const auto drop = [](const Result<void>& freed) {
    if (!freed.ok()) log_error("peer_memory_not_freed", {{"reason", freed.error().message}});
  };
  drop(cuda_ok(cudaSetDevice(device_), "cudaSetDevice"));
  if (words_ != nullptr) {
    drop(cuda_ok(cudaFreeHost(const_cast<PeerWords*>(words_)), "cudaFreeHost"));
  }
  if (state_ != nullptr) drop(cuda_ok(cudaFree(state_), "cudaFree"));
  if (memory_ != nullptr) drop(cuda_ok(cudaFree(memory_), "cudaFree"));
}

void PeerMemory::begin(uint64_t generation) {
  CHECK(generation >= generation_ && generation <= kGenerationMax);
  generation_ = generation;
  words_->abort = 0;
  words_->silent_rank = 0;
  PeerState state = {};
  for (uint64_t& next : state.next) next = (generation << kGenerationShift) + 2;
  CUDA_CHECK(cudaMemcpy(state_, &state, sizeof(state), cudaMemcpyHostToDevice));
}

}  // namespace mimo::parallel::cuda
