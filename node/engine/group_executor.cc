#include "node/engine/group_executor.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

#include "base/check.h"

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

Result<void> check_report(const StepReport& report, int32_t rank, const StepPlan& plan,
                          const StepResult& own) {
  if (report.error.code != Code::kOk) return report.error.with_context(who(rank, report.step));
  if (report.epoch != plan.epoch || report.step != plan.step)
    return internal_error(who(rank, plan.step) + ": the report is of epoch " +
                          std::to_string(report.epoch.value) + ", step " +
                          std::to_string(report.step));
  TRY(compare("plan", rank, plan.step, report.plan_digest, own.plan_digest));
  return compare("result", rank, plan.step, report.result_digest, own.result_digest);
}

Result<StepReport> read_report(std::span<const uint8_t> bytes, int32_t rank, int64_t step) {
  auto report = decode_report(bytes);
  if (report.ok()) return report;
  return internal_error(who(rank, step) + ": " + report.error().message);
}

}  // namespace

GroupExecutor::GroupExecutor(const Options& options, StepRunner runner,
                             parallel::PlanLeader* channel)
    : options_(options), runner_(std::move(runner)), channel_(channel) {
  CHECK(runner_);
}

Result<StepResult> GroupExecutor::execute(const StepPlan& plan) {
  auto result = send_and_run(plan);
  if (!result.ok() && channel_ != nullptr) channel_->abort();
  return result;
}

Result<StepResult> GroupExecutor::send_and_run(const StepPlan& plan) {
  if (channel_ != nullptr) TRY(channel_->send(encode_plan(plan)));
  auto own = runner_(plan);
  if (!own.ok()) return explain(own.error().with_context(who(0, plan.step)));
  if (channel_ != nullptr) TRY(collect(plan, own.value()));
  return own;
}

Result<void> GroupExecutor::collect(const StepPlan& plan, const StepResult& own) {
  const auto collected = channel_->collect(options_.report_timeout_ms);
  if (!collected.ok())
    return unavailable("step " + std::to_string(plan.step) + ": " + collected.error().message);
  const auto& reports = collected.value();
  for (size_t i = 0; i < reports.size(); ++i) {
    const auto rank = static_cast<int32_t>(i) + 1;
    TRY_ASSIGN(const StepReport report, read_report(reports[i], rank, plan.step));
    TRY(check_report(report, rank, plan, own));
  }
  return {};
}

Error GroupExecutor::explain(const Error& own) {
  if (channel_ == nullptr) return own;
  const auto reports = channel_->collect(std::min(kExplainMs, options_.report_timeout_ms));
  if (!reports.ok()) return Error{own.code, own.message + "; " + reports.error().message};
  Error all = own;
  for (size_t i = 0; i < reports.value().size(); ++i) {
    const auto report = decode_report(reports.value()[i]);
    if (!report.ok() || report.value().error.code == Code::kOk) continue;
    const auto rank = static_cast<int32_t>(i) + 1;
    all.message += "; " + who(rank, report.value().step) + ": " + report.value().error.message;
  }
  return all;
}

namespace {

Result<StepResult> run_next(Epoch epoch, int64_t step, std::span<const uint8_t> bytes,
                            const StepRunner& runner) {
  TRY_ASSIGN(const StepPlan plan, decode_plan(bytes));
  if (plan.epoch != epoch || plan.step != step)
    return internal_error("the plan is of epoch " + std::to_string(plan.epoch.value) + ", step " +
                          std::to_string(plan.step) + ", expected epoch " +
                          std::to_string(epoch.value) + ", step " + std::to_string(step));
  return runner(plan);
}

}  // namespace

Result<void> follow(Epoch epoch, parallel::PlanFollower& channel, const StepRunner& runner,
                    const std::function<bool()>& should_stop) {
  int64_t step = 0;
  while (!should_stop()) {
    const auto bytes = channel.receive(kPollMs);
    if (!bytes.ok() && bytes.error().code == Code::kDeadlineExceeded) continue;
    TRY(bytes);
    const auto result = run_next(epoch, step, bytes.value(), runner);
    StepReport report{.epoch = epoch, .step = step};
    if (result.ok()) {
      report.plan_digest = result.value().plan_digest;
      report.result_digest = result.value().result_digest;
    } else {
      report.error = result.error();
    }
    const auto reported = channel.report(encode_report(report));
    if (!result.ok()) return result.error().with_context("step " + std::to_string(step));
    TRY(reported);
    ++step;
  }
  return {};
}

}  // namespace mimo::node
