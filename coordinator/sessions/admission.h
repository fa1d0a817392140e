#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "coordinator/sessions/request_error.h"

namespace mimo::coordinator {

// How many requests are let in. A refusal comes at once and says when to come back.
//
// Thread:    any. A mutex: each caller needs its answer before it goes on.
// Invariant: 0 <= num_requests() <= requests_max.
class Admission final {
 public:
  struct Options {
    int32_t requests_max = 1024;
    int32_t sequences_max = 4096;  // outputs of all requests together
  };

  Admission(const Options& options, const Clock& clock);

  // Room for one request of so many outputs, or why not: OVERLOADED, or DRAINING after close().
  // Each success needs one leave() of the same number.
  std::optional<RequestError> enter(int32_t num_sequences);
  void leave(int32_t num_sequences);

  // OVERLOADED with the time in which a place should be free.
  RequestError overloaded(const std::string& message) const;

  // Nobody enters any more.
  void close();
  bool closed() const;
  // True when everybody has left.
  bool wait_empty(std::chrono::nanoseconds timeout);
  int32_t num_requests() const;

 private:
  RequestError overloaded_locked(const std::string& message) const;

  const Options options_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::condition_variable empty_;
  bool closed_ = false;
  int32_t num_requests_ = 0;
  int32_t num_sequences_ = 0;
  int64_t last_leave_ns_ = 0;
  double leave_interval_s_ = 1.0;  // moving mean of the time between two leave()s
};

}  // namespace mimo::coordinator
