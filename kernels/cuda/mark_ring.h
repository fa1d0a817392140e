#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// Moments of one stream: see Ops::mark().
//
// Thread:    one.
// Lifetime:  the stream outlives it.
// Invariant: every mark up to `done_` is done; those after it have an event of their own.
class MarkRing {
 public:
  static Result<std::unique_ptr<MarkRing>> create(cudaStream_t stream);
  ~MarkRing();
  MarkRing(const MarkRing&) = delete;
  MarkRing& operator=(const MarkRing&) = delete;

  Mark mark();
  bool done(Mark mark);
  // Asks again and again for a millisecond, then sleeps until the device says so.
  void wait(Mark mark);

 private:
  static constexpr int32_t kNumEvents = 64;

  explicit MarkRing(cudaStream_t stream) : stream_(stream) {}
  cudaEvent_t event_of(int64_t count) const {
    return events_[static_cast<size_t>(count % kNumEvents)];
  }

  const cudaStream_t stream_;
  std::array<cudaEvent_t, kNumEvents> events_ = {};
  int64_t count_ = 0;
  int64_t done_ = 0;
};

}  // namespace mimo::kernels::cuda
