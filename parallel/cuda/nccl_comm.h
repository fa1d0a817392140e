#pragma once

#include <cuda_runtime.h>
#include <nccl.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "base/dtype.h"
#include "base/result.h"
#include "parallel/cuda/peer_watch.h"
#include "parallel/wait.h"

namespace mimo::parallel::cuda {

using NcclId = std::array<uint8_t, 128>;

// NCCL keeps to plain NVLink: its use of multicast (NVLS) is turned off, by its only switch, an
// environment variable that it reads when it is first used. Call it before the process has threads.
void forbid_multicast();

// Where the ranks of a new communicator meet: this process listens until they have. A formation
// that fails leaves NCCL's thread asleep there.
Result<NcclId> make_nccl_id();

// A NCCL communicator whose calls do not block.
//
// Thread:    one at a time; check() and abort() any. The lock is held for a call's length, since
//            NCCL lets only one thread at a time into a communicator, and abort() frees it.
class NcclComm final {
 public:
  // Returns when every rank has come. kDeadlineExceeded: not all did. kUnavailable: see PeerWatch.
  static Result<std::unique_ptr<NcclComm>> create(const NcclId& id, int32_t rank, int32_t size,
                                                  PeerWatch& watch, const Deadline& deadline);
  ~NcclComm();
  NcclComm(const NcclComm&) = delete;
  NcclComm& operator=(const NcclComm&) = delete;

  // Queue on `stream`; kUnavailable with NCCL's words when a peer is lost, or after abort().
  Result<void> all_reduce(DType dtype, void* data, int64_t count, cudaStream_t stream);
  Result<void> minimum(int32_t* value, cudaStream_t stream);
  Result<void> all_gather(const void* in, void* out, int64_t bytes, cudaStream_t stream);

  // NCCL's asynchronous error, if there is one. An operation under way is none.
  Result<void> check();
  // Ends what is queued and frees everything. Waits for the graphs that hold this communicator's
  // kernels to be destroyed; the kernels themselves end at once.
  void abort();

 private:
  NcclComm() = default;
  template <typename Call>
  Result<void> enqueue(const char* what, const Call& call);
  Result<void> wait_until_queued(const char* what, ncclResult_t result);

  std::mutex mutex_;
  ncclComm_t comm_ = nullptr;
  std::atomic<bool> aborted_{false};
};

}  // namespace mimo::parallel::cuda
