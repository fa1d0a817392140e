#include "kernels/cuda/mark_ring.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "kernels/cuda/cuda_check.h"

namespace mimo::kernels::cuda {

Result<std::unique_ptr<MarkRing>> MarkRing::create(cudaStream_t stream) {
  std::unique_ptr<MarkRing> ring(new MarkRing(stream));
  for (cudaEvent_t& event : ring->events_) {
    const cudaError_t error =
        cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync);
    if (error != cudaSuccess) {
      return Error{Code::kFailedPrecondition,
                   std::string("cudaEventCreateWithFlags: ") + cudaGetErrorString(error)};
    }
  }
  return ring;
}

MarkRing::~MarkRing() {
  for (const cudaEvent_t event : events_) {
    if (event != nullptr) (void)cudaEventDestroy(event);
  }
}

Mark MarkRing::mark() {
  // The event that is taken again stood for the mark before 64; nobody may still ask it.
  if (count_ >= kNumEvents) wait({count_ + 1 - kNumEvents});
  ++count_;
  CUDA_CHECK(cudaEventRecord(event_of(count_), stream_));
  return {count_};
}

bool MarkRing::done(Mark mark) {
  CHECK(mark.count >= 0 && mark.count <= count_);
  if (mark.count <= done_) return true;
  const cudaError_t state = cudaEventQuery(event_of(mark.count));
  if (state == cudaErrorNotReady) return false;
  CUDA_CHECK(state);
  done_ = mark.count;
  return true;
}

void MarkRing::wait(Mark mark) {
  constexpr auto kAwake = std::chrono::milliseconds(1);
  const auto begin = std::chrono::steady_clock::now();
  while (!done(mark)) {
    if (std::chrono::steady_clock::now() - begin < kAwake) {
      std::this_thread::yield();
      continue;
    }
    CUDA_CHECK(cudaEventSynchronize(event_of(mark.count)));
    done_ = mark.count;
  }
}

}  // namespace mimo::kernels::cuda
