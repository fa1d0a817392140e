#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "base/units.h"
#include "node/engine/step_executor.h"
#include "parallel/plan_channel.h"

namespace mimo::node {

// One rank's forward pass. An error means that the plan was refused or the rank is lost.
using StepRunner = std::function<Result<StepResult>(const StepPlan&)>;

// The leader's way to all ranks of its group: sends each plan to the followers, runs it on its own
// rank, and compares everybody's digests. After an error it aborts the channel, and is of no more
// use.
//
// Thread:    the engine's.
// Lifetime:  the channel and what the runner holds outlive it.
class GroupExecutor final : public StepExecutor {
 public:
  struct Options {
    // From the end of the leader's own step to the last follower's report.
    int64_t report_timeout_ms = 10'000;
  };

  // `channel` is null in a group of one.
  GroupExecutor(const Options& options, StepRunner runner, parallel::PlanLeader* channel);

  // kUnavailable: a rank is lost. kInternal: a rank refused the plan, or digests differ; the
  // message names rank, step and digests.
  Result<StepResult> execute(const StepPlan& plan) override;

 private:
  Result<StepResult> send_and_run(const StepPlan& plan);
  Result<void> collect(const StepPlan& plan, const StepResult& own);
  // Its own rank's error is often only the echo of a follower's.
  Error explain(const Error& own);

  const Options options_;
  const StepRunner runner_;
  parallel::PlanLeader* const channel_;
};

// A follower's life in one epoch: runs each plan and reports. Returns when should_stop() says so
// (asked at least every half second), and with an error when the channel ends, a plan does not
// follow the one before, or the runner refuses one, which is reported first.
Result<void> follow(Epoch epoch, parallel::PlanFollower& channel, const StepRunner& runner,
                    const std::function<bool()>& should_stop);

}  // namespace mimo::node
