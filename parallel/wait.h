#pragma once

#include <poll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "parallel/fd.h"

namespace mimo::parallel {

// A moment after which a wait is given up.
class Deadline final {
 public:
  static Deadline after_ms(int64_t ms);
  bool passed() const { return std::chrono::steady_clock::now() >= at_; }
  // Rounded up, so that a wait of remaining_ms() ends after the deadline; 0 when it has passed.
  int remaining_ms() const;
  std::chrono::steady_clock::time_point at() const { return at_; }

 private:
  explicit Deadline(std::chrono::steady_clock::time_point at) : at_(at) {}
  std::chrono::steady_clock::time_point at_;
};

// A flag that poll() can wait for: set once, from any thread, and set for good.
//
// Thread:    any.
class AbortEvent final {
 public:
  static Result<std::unique_ptr<AbortEvent>> create();

  void set();
  bool is_set() const { return set_.load(std::memory_order_acquire); }
  // Readable once set.
  int fd() const { return fd_.get(); }

 private:
  explicit AbortEvent(Fd fd) : fd_(std::move(fd)) {}

  Fd fd_;
  std::atomic<bool> set_{false};
};

// poll(2) until one of `fds` is ready, `abort` is set (kUnavailable) or the deadline has passed
// (false). `fds` needs a last entry of its own for the abort event, which is filled in here.
Result<bool> poll_until(std::span<pollfd> fds, const AbortEvent& abort, const Deadline& deadline);

// "what: the system's reason", kUnavailable.
Error system_error(const char* what, int error_number);

}  // namespace mimo::parallel
