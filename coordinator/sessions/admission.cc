#include "coordinator/sessions/admission.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace mimo::coordinator {

Admission::Admission(const Options& options, const Clock& clock)
    : options_(options), clock_(clock) {
  CHECK_GE(options.requests_max, 1);
  CHECK_GE(options.sequences_max, 1);
}

std::optional<RequestError> Admission::enter(int32_t num_sequences) {
  std::lock_guard lock(mutex_);
  if (closed_) return draining_error();
  if (num_requests_ >= options_.requests_max)
    return overloaded_locked(std::to_string(num_requests_) + " requests are live, the most is " +
                             std::to_string(options_.requests_max));
  if (num_sequences_ + num_sequences > options_.sequences_max)
    return overloaded_locked(std::to_string(num_sequences_) + " outputs are live and " +
                             std::to_string(num_sequences) + " are asked for, the most is " +
                             std::to_string(options_.sequences_max));
  if (num_requests_ == 0) last_leave_ns_ = clock_.now_ns();
  ++num_requests_;
  num_sequences_ += num_sequences;
  return std::nullopt;
}

void Admission::leave(int32_t num_sequences) {
  std::lock_guard lock(mutex_);
  CHECK_GT(num_requests_, 0);
  CHECK_GE(num_sequences_, num_sequences);
  --num_requests_;
  num_sequences_ -= num_sequences;
  const int64_t now_ns = clock_.now_ns();
  const double interval_s = static_cast<double>(now_ns - last_leave_ns_) * 1e-9;
  leave_interval_s_ += (interval_s - leave_interval_s_) / 8;
  last_leave_ns_ = now_ns;
  if (num_requests_ == 0) empty_.notify_all();
}

RequestError Admission::overloaded(const std::string& message) const {
  std::lock_guard lock(mutex_);
  return overloaded_locked(message);
}

RequestError Admission::overloaded_locked(const std::string& message) const {
  RequestError refused = request_error({Code::kResourceExhausted, message});
  const double wait_ms = std::clamp(leave_interval_s_ * 1e3, 100.0, 10'000.0);
  refused.retry_after_ms = static_cast<int64_t>(wait_ms);
  return refused;
}

void Admission::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
}

bool Admission::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

bool Admission::wait_empty(std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  return empty_.wait_for(lock, timeout, [&] { return num_requests_ == 0; });
}

int32_t Admission::num_requests() const {
  std::lock_guard lock(mutex_);
  return num_requests_;
}

}  // namespace mimo::coordinator
