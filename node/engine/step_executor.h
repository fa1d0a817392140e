#pragma once

#include "base/result.h"
#include "node/engine/step_plan.h"

namespace mimo::node {

// Carries a plan to all ranks of the group, runs it, and compares their reports. One of STYLE's few
// virtual doors: a group of real ranks, or a plain model of one in tests and benches.
//
// Thread: the engine's.
class StepExecutor {
 public:
  virtual ~StepExecutor() = default;

  // The step's outputs, the same on all ranks. An error ends the epoch: a rank is lost, ranks
  // disagree (plan, digest), or a rank refused the plan.
  virtual Result<StepResult> execute(const StepPlan& plan) = 0;
};

}  // namespace mimo::node
