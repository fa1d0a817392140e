#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace mimo {

// What time it is, in nanoseconds since some fixed moment. Tests move a SimClock by hand.
//
// Thread: any.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t now_ns() const = 0;
  double now_s() const { return static_cast<double>(now_ns()) * 1e-9; }
};

// The machine's monotonic clock.
class SystemClock final : public Clock {
 public:
  int64_t now_ns() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

// Stands still until it is told to move.
class SimClock final : public Clock {
 public:
  int64_t now_ns() const override {
    std::lock_guard lock(mutex_);
    return now_ns_;
  }
  void advance_ns(int64_t ns) {
    std::lock_guard lock(mutex_);
    now_ns_ += ns;
  }

 private:
  mutable std::mutex mutex_;  // one number read by many threads: a queue would make no sense
  int64_t now_ns_ = 0;
};

}  // namespace mimo
