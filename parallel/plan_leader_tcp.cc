#include <string>

#include "parallel/plan_ends_tcp.h"

namespace mimo::parallel {

using Reports = std::vector<std::vector<uint8_t>>;

TcpPlanLeader::TcpPlanLeader(std::vector<FrameSocket> followers,
                             std::unique_ptr<AbortEvent> aborted, const TcpPlanOptions& options)
    : followers_(std::move(followers)),
      reports_(followers_.size()),
      closed_(followers_.size()),
      polled_(followers_.size() + 1),
      aborted_(std::move(aborted)),
      options_(options) {}

Error TcpPlanLeader::break_with(Error error) {
  if (!broken_) broken_ = std::move(error);
  // The followers must not wait for a leader that has given up.
  for (FrameSocket& follower : followers_) follower.shutdown();
  return *broken_;
}

void TcpPlanLeader::abort() {
  aborted_->set();
  for (FrameSocket& follower : followers_) follower.shutdown();
}

Result<void> TcpPlanLeader::send(std::span<const uint8_t> plan) {
  if (broken_) return *broken_;
  if (aborted_->is_set()) return break_with(unavailable("aborted"));
  if (static_cast<int64_t>(plan.size()) > options_.plan_bytes_max) {
    return invalid_argument("plan of " + std::to_string(plan.size()) + " bytes, at most " +
                            std::to_string(options_.plan_bytes_max));
  }
  if (num_in_flight_ >= kPlansInFlightMax) {
    return Error{Code::kResourceExhausted,
                 std::to_string(num_in_flight_) + " plans in flight are not yet collected"};
  }
  ++num_in_flight_;
  for (FrameSocket& follower : followers_) follower.start_write(plan);
  if (auto written = write_all(Deadline::after_ms(options_.send_timeout_ms)); !written.ok()) {
    return break_with(written.error());
  }
  return {};
}

// Also reads while it waits for room: a follower that is itself waiting to hand over a report would
// never come to read its plan.
Result<void> TcpPlanLeader::write_all(const Deadline& deadline) {
  bool writing = false;
  for (FrameSocket& follower : followers_) {
    TRY(follower.write_some());
    writing = writing || follower.writing();
  }
  while (writing) {
    for (size_t i = 0; i < followers_.size(); ++i) {
      const int events = POLLIN | (followers_[i].writing() ? POLLOUT : 0);
      polled_[i] = {closed_[i] ? -1 : followers_[i].fd(), static_cast<int16_t>(events), 0};
    }
    TRY_ASSIGN(const bool ready, poll_until(polled_, *aborted_, deadline));
    writing = false;
    for (size_t i = 0; i < followers_.size(); ++i) {
      if (polled_[i].revents != 0) TRY(read_reports(i));
      if (followers_[i].writing()) TRY(followers_[i].write_some());
      if (!followers_[i].writing()) continue;
      writing = true;
      if (ready) continue;
      return unavailable(followers_[i].peer() + " took no bytes of a plan for " +
                         std::to_string(options_.send_timeout_ms) + " ms");
    }
  }
  return {};
}

// What the kernel has from one follower. A close is kept for later: reports that came before it
// still count.
Result<void> TcpPlanLeader::read_reports(size_t follower) {
  if (closed_[follower]) return {};
  if (auto filled = followers_[follower].fill(); !filled.ok()) closed_[follower] = filled.error();
  while (true) {
    TRY_ASSIGN(auto report, followers_[follower].pop());
    if (!report) return {};
    reports_[follower].push_back(std::move(*report));
    if (static_cast<int64_t>(reports_[follower].size()) > num_in_flight_) {
      return internal_error(followers_[follower].peer() + " sent " +
                            std::to_string(reports_[follower].size()) + " reports, expected " +
                            std::to_string(num_in_flight_) + ", one for each plan in flight");
    }
  }
}

// True when every follower's oldest report is here.
Result<bool> TcpPlanLeader::wait_reports(const Deadline& deadline) {
  while (true) {
    bool complete = true;
    for (size_t i = 0; i < followers_.size(); ++i) {
      if (!reports_[i].empty()) continue;
      if (closed_[i]) return *closed_[i];
      complete = false;
    }
    if (complete) return true;
    for (size_t i = 0; i < followers_.size(); ++i) {
      polled_[i] = {closed_[i] ? -1 : followers_[i].fd(), POLLIN, 0};
    }
    TRY_ASSIGN(const bool ready, poll_until(polled_, *aborted_, deadline));
    if (!ready) return false;
    for (size_t i = 0; i < followers_.size(); ++i) {
      if (polled_[i].revents != 0) TRY(read_reports(i));
    }
  }
}

Result<Reports> TcpPlanLeader::collect(int64_t timeout_ms) {
  if (broken_) return *broken_;
  if (aborted_->is_set()) return break_with(unavailable("aborted"));
  if (num_in_flight_ == 0) return Error{Code::kFailedPrecondition, "no plan is in flight"};
  auto complete = wait_reports(Deadline::after_ms(timeout_ms));
  if (!complete.ok()) return break_with(complete.error());
  if (!complete.value()) {
    return Error{Code::kDeadlineExceeded,
                 "no report from " + missing() + " within " + std::to_string(timeout_ms) + " ms"};
  }
  Reports reports;
  for (auto& queue : reports_) {
    reports.push_back(std::move(queue.front()));
    queue.pop_front();
  }
  --num_in_flight_;
  return reports;
}

std::string TcpPlanLeader::missing() const {
  std::string out;
  for (size_t i = 0; i < followers_.size(); ++i) {
    if (reports_[i].empty()) out += (out.empty() ? "" : ", ") + followers_[i].peer();
  }
  return out;
}

}  // namespace mimo::parallel
