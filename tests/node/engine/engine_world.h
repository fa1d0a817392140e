#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>

#include "node/engine/engine.h"
#include "tests/node/engine/lone_run.h"

namespace mimo::node {

// 4 slots, 200 positions, 1000 tokens, pages for about two of the longest sequences.
Engine::Options small_options();
// Three tokens of prompt, up to twenty outputs.
SequenceRequest small_request(int64_t id);

// A result that draws `token` for the slot, and nothing else.
StepResult draws(int64_t step, int32_t slot, int32_t token);

// Gathers what an engine says. Its waits end within a minute, or the test fails.
//
// Thread: any.
class Listener {
 public:
  Engine::Hooks hooks();

  // Until `ready` holds, asked after each event, step and failure.
  bool wait(const std::function<bool(const Listener&)>& ready);
  // Until all of these have ended.
  bool wait_ended(int64_t num_sequences);

  // To be read inside wait()'s `ready`, or when the engine has stopped.
  std::map<SequenceId, Stream> streams;
  int64_t num_ended = 0;
  EngineStats last;
  std::optional<Error> failure;
  int32_t num_failures = 0;
  bool in_order = true;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

// Runs steps on another executor, after `before` (null: none) has let each of them start.
class GatedExecutor final : public StepExecutor {
 public:
  using Before = std::function<Result<void>(const StepPlan&)>;
  GatedExecutor(StepExecutor& inner, Before before) : inner_(inner), before_(std::move(before)) {}
  int32_t steps_in_flight_max() const override { return inner_.steps_in_flight_max(); }
  Result<void> start(const StepPlan& plan) override {
    TRY(before_(plan));
    return inner_.start(plan);
  }
  Result<StepResult> finish() override { return inner_.finish(); }

 private:
  StepExecutor& inner_;
  const Before before_;
};

}  // namespace mimo::node
