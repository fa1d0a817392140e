#include "parallel/cuda/nccl_group.h"

#include <chrono>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "kernels/cuda/cuda_check.h"
#include "parallel/collective_call.h"

namespace mimo::parallel::cuda {
namespace {

constexpr int64_t kWatchMs = 100;
// A barrier's kernel gives up by itself and knows for whom it waited; the host waits a little more.
constexpr int64_t kBarrierGraceMs = 500;
constexpr auto kDrainNapMin = std::chrono::microseconds(20);
constexpr auto kDrainNapMax = std::chrono::microseconds(1000);

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

}  // namespace

Result<std::unique_ptr<OwnStream>> OwnStream::create() {
  std::unique_ptr<OwnStream> out(new OwnStream);
  TRY(cuda_ok(cudaStreamCreateWithFlags(&out->stream_, cudaStreamNonBlocking),
              "cudaStreamCreateWithFlags"));
  return out;
}

OwnStream::~OwnStream() {
  if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
}

Result<void> OwnStream::drain(const AbortEvent& aborted, const Deadline& deadline) {
  auto nap = kDrainNapMin;
  while (true) {
    const cudaError_t state = cudaStreamQuery(stream_);
    if (state == cudaSuccess) return {};
    if (state != cudaErrorNotReady) CUDA_CHECK(state);
    if (aborted.is_set()) return unavailable("aborted");
    if (deadline.passed()) return Error{Code::kDeadlineExceeded, "the ranks did not meet in time"};
    std::this_thread::sleep_for(nap);
    nap = std::min(2 * nap, kDrainNapMax);
  }
}

NcclGroup::NcclGroup(NcclGroupParts parts) : parts_(std::move(parts)) {
  if (size() > 1) watcher_ = std::thread([this] { watch(); });
}

NcclGroup::~NcclGroup() {
  abort();
  if (watcher_.joinable()) watcher_.join();
  CUDA_CHECK(cudaSetDevice(parts_.memory.device()));
  // The kernels have been told to end; the mappings that they use go next.
  CUDA_CHECK(cudaDeviceSynchronize());
}

Result<void> NcclGroup::all_reduce(DType dtype, void* data, int64_t count, Stream stream) {
  CHECK_GE(count, 0);
  TRY(check_summable(dtype));
  TRY(check());
  if (count == 0 || size() == 1) return {};
  const int64_t bytes = count * dtype_bytes(dtype);
  Algorithm algorithm = choose_all_reduce(size(), bytes, parts_.peers != nullptr);
  if (parts_.peers != nullptr) algorithm = parts_.algorithm.value_or(algorithm);
  switch (algorithm) {
    case Algorithm::kOneShot:
      reduce_one_shot(parts_.peers->table(), dtype, data, bytes, native(stream));
      return {};
    case Algorithm::kTwoShot:
      reduce_two_shot(parts_.peers->table(), dtype, data, bytes, native(stream));
      return {};
    case Algorithm::kNccl:
      break;
  }
  const auto queued = parts_.comm->all_reduce(dtype, data, count, native(stream));
  if (!queued.ok()) return break_with(queued.error());
  return {};
}

Result<void> NcclGroup::all_gather(const void* in, void* out, int64_t bytes, Stream stream) {
  CHECK_GE(bytes, 0);
  TRY(check());
  if (bytes == 0) return {};
  if (size() == 1) {
    if (in != out) {
      CUDA_CHECK(cudaMemcpyAsync(out, in, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice,
                                 native(stream)));
    }
    return {};
  }
  const bool forced = parts_.peers != nullptr && parts_.algorithm.has_value();
  if (forced ? parts_.algorithm != Algorithm::kNccl
             : gather_by_peers(size(), bytes, parts_.peers != nullptr)) {
    gather(parts_.peers->table(), in, out, bytes, native(stream));
    return {};
  }
  const auto queued = parts_.comm->all_gather(in, out, bytes, native(stream));
  if (!queued.ok()) return break_with(queued.error());
  return {};
}

Result<void> NcclGroup::meet() {
  if (parts_.peers != nullptr) {
    meet_all(parts_.peers->table(), parts_.stream->get());
  } else {
    TRY(parts_.comm->minimum(parts_.barrier_memory.get(), parts_.stream->get()));
  }
  return parts_.stream->drain(*parts_.aborted,
                              Deadline::after_ms(parts_.timeout_ms + kBarrierGraceMs));
}

Result<void> NcclGroup::barrier() {
  TRY(check());
  if (size() == 1) return {};
  CUDA_CHECK(cudaSetDevice(parts_.memory.device()));
  const auto met = meet();
  TRY(check());  // the kernel's word, or the watcher's, is the better one
  if (!met.ok()) return break_with(met.error());
  return {};
}

Result<void> NcclGroup::check() {
  const int32_t silent = parts_.memory.silent_rank();
  if (!broken_.load(std::memory_order_acquire) && !parts_.aborted->is_set() && silent < 0) {
    return {};
  }
  if (silent >= 0) {
    return break_with({Code::kDeadlineExceeded, "no word from rank " + std::to_string(silent) +
                                                    " for " + std::to_string(parts_.timeout_ms) +
                                                    " ms"});
  }
  return break_with(unavailable("aborted"));
}

// The first error, which may not be this one; kernels and waits end.
Error NcclGroup::break_with(Error error) {
  Error first;
  {
    std::lock_guard lock(mutex_);
    if (!error_.has_value()) {
      error_ = std::move(error);
      log_warning("group_broken", {{"rank", rank()}, {"reason", error_->to_string()}});
    }
    first = *error_;
  }
  broken_.store(true, std::memory_order_release);
  abort();
  return first;
}

void NcclGroup::abort() {
  parts_.memory.abort();
  parts_.aborted->set();
}

// Sleeps; wakes when the group is aborted or a peer's process ends, and now and then to ask NCCL
// and the kernels. What it finds it says, then ends NCCL's part, which may take until the caller
// has dropped its graphs.
void NcclGroup::watch() {
  CUDA_CHECK(cudaSetDevice(parts_.memory.device()));
  while (true) {
    Result<void> state = parts_.watch->wait(kWatchMs);
    if (state.ok()) state = parts_.comm->check();
    if (!state.ok() && !parts_.aborted->is_set()) break_with(state.error());
    if (state.ok()) state = check();
    if (!state.ok()) break;
  }
  parts_.memory.abort();  // the endpoint's aborter sets the event alone
  parts_.comm->abort();
}

}  // namespace mimo::parallel::cuda
