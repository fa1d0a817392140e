#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>

#include "base/clock.h"
#include "node/engine/step_executor.h"
#include "node/model/rank.h"
#include "node/service/live_figures.h"
#include "node/service/probe.h"

namespace mimo::node {

// A rank's steps, counted and timed.
//
// Thread:    one.
class MeteredRunner final : public StepRunner {
 public:
  MeteredRunner(Rank& rank, LiveFigures& figures, WorkerProbe& probe, const Clock& clock)
      : rank_(rank), figures_(figures), probe_(probe), clock_(clock) {}

  int32_t steps_in_flight_max() const override { return rank_.steps_in_flight_max(); }

  Result<void> start(const StepPlan& plan) override {
    const int64_t now_ns = clock_.now_ns();
    TRY(rank_.start(plan));
    begun_ns_.push_back(now_ns);
    return {};
  }

  bool finished() override { return rank_.finished(); }

  Result<StepResult> finish() override {
    Result<StepResult> result = rank_.finish();
    if (!result.ok() || begun_ns_.empty()) return result;
    const int64_t now_ns = clock_.now_ns();
    // Steps overlap: each one's time begins where the one before ended.
    const int64_t begin_ns = std::max(begun_ns_.front(), ended_ns_);
    begun_ns_.pop_front();
    ended_ns_ = now_ns;
    ++figures_.steps;
    probe_.rank_step(now_ns - begin_ns, rank_.memory(), rank_.masks());
    return result;
  }

 private:
  Rank& rank_;
  LiveFigures& figures_;
  WorkerProbe& probe_;
  const Clock& clock_;
  std::deque<int64_t> begun_ns_;  // of the steps that are out
  int64_t ended_ns_ = 0;          // the last one
};

}  // namespace mimo::node
