#include "parallel/cuda/nccl_comm.h"

#include <stdlib.h>

#include <chrono>
#include <cstring>
#include <string>
#include <thread>

#include "base/check.h"
#include "base/log.h"

namespace mimo::parallel::cuda {
namespace {

// How long NCCL may take to put an operation on the stream: it connects ranks at the first of a
// kind.
constexpr int64_t kQueueTimeoutMs = 60'000;
constexpr auto kQueueNap = std::chrono::microseconds(20);
constexpr int64_t kInitNapMs = 2;

Error nccl_error(const std::string& what, ncclResult_t result) {
  const bool ours = result == ncclInvalidArgument || result == ncclInvalidUsage;
  return Error{ours ? Code::kInternal : Code::kUnavailable,
               what + ": NCCL: " + ncclGetErrorString(result)};
}

ncclDataType_t nccl_dtype(DType dtype) {
  CHECK(dtype == DType::kF32 || dtype == DType::kBf16);
  return dtype == DType::kF32 ? ncclFloat32 : ncclBfloat16;
}

}  // namespace

void forbid_multicast() { ::setenv("NCCL_NVLS_ENABLE", "0", 1); }

Result<NcclId> make_nccl_id() {
  ncclUniqueId id;
  if (const ncclResult_t made = ncclGetUniqueId(&id); made != ncclSuccess) {
    return nccl_error("ncclGetUniqueId", made);
  }
  NcclId out;
  static_assert(sizeof(id) == sizeof(out), "an id is 128 bytes");
  std::memcpy(out.data(), &id, sizeof(id));
  return out;
}

Result<std::unique_ptr<NcclComm>> NcclComm::create(const NcclId& id, int32_t rank, int32_t size,
                                                   PeerWatch& watch, const Deadline& deadline) {
  std::unique_ptr<NcclComm> out(new NcclComm);
  ncclUniqueId nccl_id;
  std::memcpy(&nccl_id, id.data(), sizeof(nccl_id));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclResult_t state = ncclCommInitRankConfig(&out->comm_, size, nccl_id, rank, &config);
  while (state == ncclInProgress) {
    if (deadline.passed()) {
      return Error{Code::kDeadlineExceeded,
                   "not all of " + std::to_string(size) + " ranks came to NCCL's meeting in time"};
    }
    TRY(watch.wait(kInitNapMs));
    if (const ncclResult_t asked = ncclCommGetAsyncError(out->comm_, &state);
        asked != ncclSuccess) {
      state = asked;
    }
  }
  if (state != ncclSuccess) return nccl_error("ncclCommInitRankConfig", state);
  return out;
}

NcclComm::~NcclComm() { abort(); }

void NcclComm::abort() {
  aborted_ = true;  // a call that waits lets go of the lock
  std::lock_guard lock(mutex_);
  if (comm_ == nullptr) return;
  const ncclResult_t result = ncclCommAbort(comm_);
  if (result != ncclSuccess && result != ncclInProgress) {
    log_warning("nccl_abort", {{"reason", ncclGetErrorString(result)}});
  }
  comm_ = nullptr;
}

Result<void> NcclComm::check() {
  std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return {};  // a call is under way and looks for itself
  if (comm_ == nullptr) return unavailable("aborted");
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
  if (asked != ncclSuccess) return nccl_error("ncclCommGetAsyncError", asked);
  if (state != ncclSuccess && state != ncclInProgress) return nccl_error("a peer is lost", state);
  return {};
}

Result<void> NcclComm::wait_until_queued(const char* what, ncclResult_t result) {
  const Deadline deadline = Deadline::after_ms(kQueueTimeoutMs);
  while (result == ncclInProgress) {
    if (aborted_) return unavailable("aborted");
    if (deadline.passed()) {
      return Error{Code::kDeadlineExceeded, std::string(what) + ": not queued after " +
                                                std::to_string(kQueueTimeoutMs) + " ms"};
    }
    std::this_thread::sleep_for(kQueueNap);
    if (const ncclResult_t asked = ncclCommGetAsyncError(comm_, &result); asked != ncclSuccess) {
      result = asked;
    }
  }
  if (result != ncclSuccess) return nccl_error(what, result);
  return {};
}

template <typename Call>
Result<void> NcclComm::enqueue(const char* what, const Call& call) {
  std::lock_guard lock(mutex_);
  if (aborted_ || comm_ == nullptr) return unavailable("aborted");
  return wait_until_queued(what, call());
}

Result<void> NcclComm::all_reduce(DType dtype, void* data, int64_t count, cudaStream_t stream) {
  return enqueue("all_reduce", [&] {
    return ncclAllReduce(data, data, static_cast<size_t>(count), nccl_dtype(dtype), ncclSum, comm_,
                         stream);
  });
}

Result<void> NcclComm::minimum(int32_t* value, cudaStream_t stream) {
  return enqueue("minimum",
                 [&] { return ncclAllReduce(value, value, 1, ncclInt32, ncclMin, comm_, stream); });
}

Result<void> NcclComm::all_gather(const void* in, void* out, int64_t bytes, cudaStream_t stream) {
  return enqueue("all_gather", [&] {
    return ncclAllGather(in, out, static_cast<size_t>(bytes), ncclUint8, comm_, stream);
  });
}

}  // namespace mimo::parallel::cuda
