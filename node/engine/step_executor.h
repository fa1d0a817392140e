#pragma once

#include <cstdint>

#include "base/result.h"
#include "node/engine/step_plan.h"

namespace mimo::node {

// One rank's forward passes. Steps are started in order and finished in order, and up to
// steps_in_flight_max() are out at once: a device works on one while the next is planned.
//
// Thread: one.
class StepRunner {
 public:
  virtual ~StepRunner() = default;

  virtual int32_t steps_in_flight_max() const = 0;
  // Queues the step. A plan that cannot be done is refused with its values and changes nothing.
  virtual Result<void> start(const StepPlan& plan) = 0;
  // True when finish() would not wait for the oldest step that is out.
  virtual bool finished() = 0;
  // The oldest step that is out: waits for it.
  virtual Result<StepResult> finish() = 0;
};

// Carries plans to all ranks of the group, runs them, and compares their reports. One of STYLE's
// few virtual doors: a group of real ranks, or a plain model of one in tests and benches.
//
// Thread: the engine's.
class StepExecutor {
 public:
  virtual ~StepExecutor() = default;

  virtual int32_t steps_in_flight_max() const = 0;
  virtual Result<void> start(const StepPlan& plan) = 0;
  // The outputs of the oldest step that is out, the same on all ranks. An error, here or in
  // start(), ends the epoch: a rank is lost, ranks disagree (plan, digest), or a rank refused the
  // plan.
  virtual Result<StepResult> finish() = 0;
};

}  // namespace mimo::node
