#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "parallel/cuda/choice.h"
#include "parallel/cuda/nccl_comm.h"
#include "parallel/cuda/peer_mappings.h"
#include "parallel/cuda/peer_watch.h"
#include "parallel/tp_group.h"

namespace mimo::parallel::cuda {

// A non-blocking stream.
class OwnStream final {
 public:
  static Result<std::unique_ptr<OwnStream>> create();
  ~OwnStream();
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  cudaStream_t get() const { return stream_; }
  // Until everything on it has run; nap by nap, since CUDA's own wait cannot be ended.
  // kUnavailable when `aborted`, kDeadlineExceeded after the deadline.
  Result<void> drain(const AbortEvent& aborted, const Deadline& deadline);

 private:
  OwnStream() = default;
  cudaStream_t stream_ = nullptr;
};

// What a group is made of, in the order of birth.
struct NcclGroupParts {
  PeerMemory& memory;
  int32_t rank = 0;
  int32_t size = 0;
  int64_t timeout_ms = 0;
  std::optional<Algorithm> algorithm = std::nullopt;  // see NcclEndpoint::Options
  std::shared_ptr<AbortEvent> aborted = nullptr;
  std::unique_ptr<PeerWatch> watch = nullptr;
  std::unique_ptr<OwnStream> stream = nullptr;        // barrier()'s
  std::unique_ptr<NcclComm> comm = nullptr;           // null in a group of one
  std::unique_ptr<PeerMappings> peers = nullptr;      // null: NCCL alone
  std::shared_ptr<int32_t> barrier_memory = nullptr;  // on the device; shared for its deleter alone
};

// See NcclEndpoint.
//
// Thread:    one at a time makes calls; abort() and check() any. `watcher_` sleeps between looks.
// Invariant: once error_ is set it stays; it was set before the kernels were told to end.
class NcclGroup final : public TpGroup {
 public:
  explicit NcclGroup(NcclGroupParts parts);
  ~NcclGroup() override;

  int32_t rank() const override { return parts_.rank; }
  int32_t size() const override { return parts_.size; }
  Result<void> all_reduce(DType dtype, void* data, int64_t count, Stream stream) override;
  Result<void> all_gather(const void* in, void* out, int64_t bytes, Stream stream) override;
  Result<void> barrier() override;
  Result<void> check() override;
  void abort() override;

 private:
  void watch();
  Error break_with(Error error);
  Result<void> meet();

  NcclGroupParts parts_;
  // The watcher, the kernels' word and a caller's own call may each find the first error.
  std::mutex mutex_;
  std::optional<Error> error_;
  std::atomic<bool> broken_{false};
  std::thread watcher_;
};

}  // namespace mimo::parallel::cuda
