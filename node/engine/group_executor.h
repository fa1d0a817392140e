#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "base/result.h"
#include "base/units.h"
#include "node/engine/step_executor.h"
#include "parallel/plan_channel.h"

namespace mimo::node {

// The leader's way to all ranks of its group: sends each plan to the followers, starts it on its
// own rank, and compares everybody's digests. After an error it aborts the channel, and is of no
// more use; steps may then still be out at the runner.
//
// Thread:    the engine's.
// Lifetime:  runner and channel outlive it.
class GroupExecutor final : public StepExecutor {
 public:
  struct Options {
    // From the end of the leader's own step to the last follower's report.
    int64_t report_timeout_ms = 10'000;
  };

  // `channel` is null in a group of one.
  GroupExecutor(const Options& options, StepRunner& runner, parallel::PlanLeader* channel);

  // The runner's; so should be the followers'.
  int32_t steps_in_flight_max() const override { return runner_.steps_in_flight_max(); }
  // kUnavailable: a rank is lost. kInternal: a rank refused the plan, or digests differ; the
  // message names rank, step and digests.
  Result<void> start(const StepPlan& plan) override;
  Result<StepResult> finish() override;

 private:
  struct StepOut {
    Epoch epoch;
    int64_t step = 0;
  };

  Result<void> send_and_start(const StepPlan& plan);
  Result<StepResult> finish_and_collect();
  Result<void> collect(const StepOut& out, const StepResult& own);
  // Its own rank's error is often only the echo of a follower's.
  Error explain(const Error& own);

  const Options options_;
  StepRunner& runner_;
  parallel::PlanLeader* const channel_;
  std::deque<StepOut> sent_;  // and not yet collected, oldest first
};

// A follower's life in one epoch: starts each plan as soon as the runner has room for it, and
// reports each step as soon as it is finished. Returns when should_stop() says so (asked at least
// every half second while nothing is out), and with an error when the channel ends, a plan does not
// follow the one before, or the runner refuses one, which is reported first. Steps may still be out
// at the runner then.
Result<void> follow(Epoch epoch, parallel::PlanFollower& channel, StepRunner& runner,
                    const std::function<bool()>& should_stop);

}  // namespace mimo::node
