#include <string>

#include "parallel/plan_ends_tcp.h"

namespace mimo::parallel {

TcpPlanFollower::TcpPlanFollower(FrameSocket leader, std::unique_ptr<AbortEvent> aborted,
                                 const TcpPlanOptions& options)
    : leader_(std::move(leader)), aborted_(std::move(aborted)), options_(options) {}

Error TcpPlanFollower::break_with(Error error) {
  if (!broken_) broken_ = std::move(error);
  leader_.shutdown();
  return *broken_;
}

void TcpPlanFollower::abort() {
  aborted_->set();
  leader_.shutdown();
}

Result<std::vector<uint8_t>> TcpPlanFollower::receive(int64_t timeout_ms) {
  if (broken_) return *broken_;
  if (aborted_->is_set()) return break_with(unavailable("aborted"));
  const Deadline deadline = Deadline::after_ms(timeout_ms);
  while (true) {
    auto plan = leader_.pop();
    if (!plan.ok()) return break_with(plan.error());
    if (plan.value()) {
      ++num_unreported_;
      return std::move(*std::move(plan).value());
    }
    pollfd fds[2] = {{leader_.fd(), POLLIN, 0}, {}};
    const auto ready = poll_until(fds, *aborted_, deadline);
    if (!ready.ok()) return break_with(ready.error());
    if (!ready.value()) {
      return Error{Code::kDeadlineExceeded, "no plan within " + std::to_string(timeout_ms) + " ms"};
    }
    // A close comes after the bytes before it, so nothing whole is left to pop.
    if (auto filled = leader_.fill(); !filled.ok()) return break_with(filled.error());
  }
}

Result<void> TcpPlanFollower::report(std::span<const uint8_t> bytes) {
  if (broken_) return *broken_;
  if (aborted_->is_set()) return break_with(unavailable("aborted"));
  if (static_cast<int64_t>(bytes.size()) > options_.plan_bytes_max) {
    return invalid_argument("report of " + std::to_string(bytes.size()) + " bytes, at most " +
                            std::to_string(options_.plan_bytes_max));
  }
  if (num_unreported_ == 0) {
    return Error{Code::kFailedPrecondition, "every plan received has been reported"};
  }
  --num_unreported_;
  const Deadline deadline = Deadline::after_ms(options_.send_timeout_ms);
  leader_.start_write(bytes);
  while (true) {
    if (auto written = leader_.write_some(); !written.ok()) return break_with(written.error());
    if (!leader_.writing()) return {};
    pollfd fds[2] = {{leader_.fd(), POLLOUT, 0}, {}};
    const auto ready = poll_until(fds, *aborted_, deadline);
    if (!ready.ok()) return break_with(ready.error());
    if (!ready.value()) {
      return break_with(unavailable(leader_.peer() + " took no bytes of a report for " +
                                    std::to_string(options_.send_timeout_ms) + " ms"));
    }
  }
}

}  // namespace mimo::parallel
