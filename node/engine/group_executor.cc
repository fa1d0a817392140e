#include "node/engine/group_executor.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <thread>

#include "base/check.h"
#include "parallel/wait.h"

namespace mimo::node {
namespace {

constexpr int64_t kPollMs = 500;
// A follower that refuses a plan says so at once.
constexpr int64_t kExplainMs = 1'000;

std::string hex(uint64_t digest) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(digest));
  return text;
}

std::string who(int32_t rank, int64_t step) {
  return "rank " + std::to_string(rank) + ", step " + std::to_string(step);
}

Result<void> compare(const char* what, int32_t rank, int64_t step, uint64_t theirs,
                     uint64_t leaders) {
  if (theirs == leaders) return {};
  return internal_error(who(rank, step) + ": " + what + " digest is " + hex(theirs) +
                        ", the leader's is " + hex(leaders));
}

Result<void> check_report(const StepReport& report, int32_t rank, Epoch epoch, int64_t step,
                          const StepResult& own) {
  if (report.error.code != Code::kOk) return report.error.with_context(who(rank, report.step));
  if (report.epoch != epoch || report.step != step)
    return internal_error(who(rank, step) + ": the report is of epoch " +
                          std::to_string(report.epoch.value) + ", step " +
                          std::to_string(report.step));
  TRY(compare("plan", rank, step, report.plan_digest, own.plan_digest));
  return compare("result", rank, step, report.result_digest, own.result_digest);
}

Result<StepReport> read_report(std::span<const uint8_t> bytes, int32_t rank, int64_t step) {
  auto report = decode_report(bytes);
  if (report.ok()) return report;
  return internal_error(who(rank, step) + ": " + report.error().message);
}

}  // namespace

GroupExecutor::GroupExecutor(const Options& options, StepRunner& runner,
                             parallel::PlanLeader* channel)
    : options_(options), runner_(runner), channel_(channel) {}

Result<void> GroupExecutor::start(const StepPlan& plan) {
  auto started = send_and_start(plan);
  if (!started.ok() && channel_ != nullptr) channel_->abort();
  return started;
}

Result<StepResult> GroupExecutor::finish() {
  auto result = finish_and_collect();
  if (!result.ok() && channel_ != nullptr) channel_->abort();
  return result;
}

Result<void> GroupExecutor::send_and_start(const StepPlan& plan) {
  if (channel_ != nullptr) TRY(channel_->send(encode_plan(plan)));
  sent_.push_back({plan.epoch, plan.step});
  const auto started = runner_.start(plan);
  if (!started.ok()) return explain(started.error().with_context(who(0, plan.step)));
  return {};
}

Result<StepResult> GroupExecutor::finish_and_collect() {
  CHECK(!sent_.empty());
  const StepOut out = sent_.front();
  auto own = runner_.finish();
  if (!own.ok()) return explain(own.error().with_context(who(0, out.step)));
  if (channel_ != nullptr) TRY(collect(out, own.value()));
  sent_.pop_front();
  return own;
}

Result<void> GroupExecutor::collect(const StepOut& out, const StepResult& own) {
  const auto collected = channel_->collect(options_.report_timeout_ms);
  if (!collected.ok())
    return unavailable("step " + std::to_string(out.step) + ": " + collected.error().message);
  const auto& reports = collected.value();
  for (size_t i = 0; i < reports.size(); ++i) {
    const auto rank = static_cast<int32_t>(i) + 1;
    TRY_ASSIGN(const StepReport report, read_report(reports[i], rank, out.step));
    TRY(check_report(report, rank, out.epoch, out.step, own));
  }
  return {};
}

Error GroupExecutor::explain(const Error& own) {
  if (channel_ == nullptr) return own;
  const auto deadline =
      parallel::Deadline::after_ms(std::min(kExplainMs, options_.report_timeout_ms));
  Error all = own;
  bool explained = false;
  // A follower's refusal stands in the place of its oldest step that is out.
  for (; !sent_.empty() && !explained; sent_.pop_front()) {
    const auto reports = channel_->collect(deadline.remaining_ms());
    if (!reports.ok()) return Error{own.code, own.message + "; " + reports.error().message};
    for (size_t i = 0; i < reports.value().size(); ++i) {
      const auto report = decode_report(reports.value()[i]);
      if (!report.ok() || report.value().error.code == Code::kOk) continue;
      const auto rank = static_cast<int32_t>(i) + 1;
      all.message += "; " + who(rank, report.value().step) + ": " + report.value().error.message;
      explained = true;
    }
  }
  return all;
}

namespace {

// Thread: follow()'s.
class Follower {
 public:
  Follower(Epoch epoch, parallel::PlanFollower& channel, StepRunner& runner)
      : epoch_(epoch),
        channel_(channel),
        runner_(runner),
        steps_max_(runner.steps_in_flight_max()) {
    CHECK_GE(steps_max_, 1);
  }

  // Starts a step, or finishes one, or finds nothing to do for a moment.
  Result<void> advance() {
    if (num_out() == steps_max_) return finish_oldest();
    // Only while a device works is it worth a core to be quick at both ends.
    TRY_ASSIGN(const bool started, receive_and_start(num_out() == 0 ? kPollMs : 0));
    if (started || num_out() == 0) return {};
    if (runner_.finished()) return finish_oldest();
    std::this_thread::yield();
    return {};
  }

 private:
  int64_t num_out() const { return num_started_ - num_finished_; }

  // False: no plan came in time.
  Result<bool> receive_and_start(int64_t timeout_ms) {
    const auto bytes = channel_.receive(timeout_ms);
    if (!bytes.ok() && bytes.error().code == Code::kDeadlineExceeded) return false;
    TRY(bytes);
    const auto started = start(bytes.value());
    if (!started.ok()) return refuse(num_started_, started.error());
    ++num_started_;
    return true;
  }

  Result<void> start(std::span<const uint8_t> bytes) {
    TRY_ASSIGN(const StepPlan plan, decode_plan(bytes));
    if (plan.epoch != epoch_ || plan.step != num_started_)
      return internal_error("the plan is of epoch " + std::to_string(plan.epoch.value) + ", step " +
                            std::to_string(plan.step) + ", expected epoch " +
                            std::to_string(epoch_.value) + ", step " +
                            std::to_string(num_started_));
    return runner_.start(plan);
  }

  Result<void> finish_oldest() {
    const auto result = runner_.finish();
    if (!result.ok()) return refuse(num_finished_, result.error());
    StepReport report{.epoch = epoch_, .step = num_finished_++};
    report.plan_digest = result.value().plan_digest;
    report.result_digest = result.value().result_digest;
    return channel_.report(encode_report(report));
  }

  // The leader hears of it at once, also when older steps are out.
  Error refuse(int64_t step, const Error& error) {
    const StepReport report{.epoch = epoch_, .step = step, .error = error};
    // Told or not, the epoch ends here with the same error.
    (void)channel_.report(encode_report(report));
    return error.with_context("step " + std::to_string(step));
  }

  const Epoch epoch_;
  parallel::PlanFollower& channel_;
  StepRunner& runner_;
  const int32_t steps_max_;
  int64_t num_started_ = 0;
  int64_t num_finished_ = 0;
};

}  // namespace

Result<void> follow(Epoch epoch, parallel::PlanFollower& channel, StepRunner& runner,
                    const std::function<bool()>& should_stop) {
  Follower follower(epoch, channel, runner);
  while (!should_stop()) TRY(follower.advance());
  return {};
}

}  // namespace mimo::node
