#include "node/engine/engine.h"

#include <chrono>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/check.h"
#include "node/engine/intake.h"
#include "node/engine/step_planner.h"

namespace mimo::node {
namespace {

// Nothing is due while the engine is idle; a command or stop() ends the wait at once.
constexpr std::chrono::seconds kIdleWait{10};
// Constraints that one plan announces at most.
constexpr size_t kAnnouncedMax = 16;

}  // namespace

class Engine::Impl {
 public:
  Impl(const Options& options, Hooks hooks, StepExecutor& executor, const Clock& clock)
      : options_(options),
        hooks_(std::move(hooks)),
        executor_(executor),
        clock_(clock),
        intake_(options),
        planner_(options),
        thread_([this] { run(); }) {}
  ~Impl() { stop(); }

  Result<void> submit(SequenceRequest request) {
    TRY(options_.check(request));
    return intake_.submit(std::move(request));
  }
  void announce(grammar::Spec constraint) {
    std::lock_guard lock(announced_mutex_);
    if (announced_.size() < kAnnouncedMax) announced_.push_back(std::move(constraint));
  }
  void abort(SequenceId id) { intake_.abort(id); }
  void stop() {
    intake_.close(unavailable("the engine was stopped"));
    std::lock_guard lock(join_mutex_);
    CHECK(thread_.get_id() != std::this_thread::get_id());
    if (thread_.joinable()) thread_.join();
  }

 private:
  // Of a step that is out.
  struct Begun {
    EngineStats stats;
    int64_t plan_ns = 0;   // when its planning began
    int64_t start_ns = 0;  // when it was handed to the executor
  };

  void run();
  // Until stop(); an error is the executor's or its result's.
  Result<void> serve();
  Result<void> start_step();
  Result<void> finish_step();
  void handle(std::vector<EngineCommand> commands);
  void tell(std::vector<SequenceEvent> events);
  // No sequence stays behind without its last event.
  void end_all(const Error& error);

  const Options options_;
  const Hooks hooks_;
  StepExecutor& executor_;
  const Clock& clock_;
  Intake intake_;
  StepPlanner planner_;
  std::deque<Begun> begun_;  // steps that are out, oldest first
  // Announcements wake nobody and may be lost, so they are not in the intake's queue.
  std::mutex announced_mutex_;
  std::vector<grammar::Spec> announced_;
  std::mutex join_mutex_;  // two callers of stop() both return after the thread's end
  std::thread thread_;     // last: it uses all of the above
};

void Engine::Impl::run() {
  const auto served = serve();
  if (served.ok()) return end_all(unavailable("the engine was stopped"));
  const Error lost = unavailable("the group failed: " + served.error().message);
  intake_.close(lost);
  end_all(lost);
  if (hooks_.on_failure) hooks_.on_failure(served.error());
}

Result<void> Engine::Impl::serve() {
  const int32_t steps_max = executor_.steps_in_flight_max();
  CHECK_GE(steps_max, 1);
  while (true) {
    handle(planner_.has_work() ? intake_.take_now() : intake_.take_for(kIdleWait));
    if (intake_.closed()) break;
    while (planner_.can_plan() && planner_.num_steps_out() < steps_max) TRY(start_step());
    if (!begun_.empty()) TRY(finish_step());
  }
  // The executor is left with nothing of ours.
  while (!begun_.empty()) TRY(finish_step());
  return {};
}

void Engine::Impl::handle(std::vector<EngineCommand> commands) {
  std::vector<SequenceEvent> events;
  for (EngineCommand& command : commands) {
    if (command.request != nullptr) {
      planner_.add(std::move(*command.request));
    } else {
      planner_.abort(command.id, events);
    }
  }
  tell(std::move(events));
}

Result<void> Engine::Impl::start_step() {
  Begun begun;
  begun.plan_ns = clock_.now_ns();
  StepPlan plan = planner_.plan();
  {
    std::lock_guard lock(announced_mutex_);
    plan.announced.swap(announced_);
  }
  intake_.note_started(planner_.newly_started());
  begun.stats.step = plan.step;
  begun.stats.plan_bytes = static_cast<int64_t>(encode_plan(plan).size());
  begun.start_ns = clock_.now_ns();
  begun.stats.plan_ns = begun.start_ns - begun.plan_ns;
  TRY(executor_.start(plan));
  begun_.push_back(begun);
  return {};
}

Result<void> Engine::Impl::finish_step() {
  const int64_t wait_ns = clock_.now_ns();
  TRY_ASSIGN(const StepResult result, executor_.finish());
  const int64_t executed_ns = clock_.now_ns();
  // Of a step with a bad output nothing is told: it counts as a whole.
  std::vector<SequenceEvent> events;
  TRY(planner_.accept(result, events));
  tell(std::move(events));
  const Begun begun = begun_.front();
  begun_.pop_front();
  if (!hooks_.on_step) return {};
  EngineStats stats = begun.stats;
  planner_.fill_stats(stats);
  stats.execute_ns = executed_ns - begun.start_ns;
  stats.wait_ns = executed_ns - wait_ns;
  stats.total_ns = clock_.now_ns() - begun.plan_ns;
  hooks_.on_step(stats);
  return {};
}

void Engine::Impl::tell(std::vector<SequenceEvent> events) {
  if (events.empty()) return;
  intake_.note_ended(events);
  hooks_.on_events(std::move(events));
}

void Engine::Impl::end_all(const Error& error) {
  // Aborts say nothing new here: all ends.
  for (EngineCommand& command : intake_.take_now()) {
    if (command.request != nullptr) planner_.add(std::move(*command.request));
  }
  std::vector<SequenceEvent> events;
  planner_.fail_all(error, events);
  tell(std::move(events));
}

Result<std::unique_ptr<Engine>> Engine::create(const Options& options, Hooks hooks,
                                               StepExecutor& executor, const Clock& clock) {
  TRY(options.validate());
  CHECK(hooks.on_events);
  return std::unique_ptr<Engine>(
      new Engine(std::make_unique<Impl>(options, std::move(hooks), executor, clock)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() = default;

Result<void> Engine::submit(SequenceRequest request) { return impl_->submit(std::move(request)); }

void Engine::announce(grammar::Spec constraint) { impl_->announce(std::move(constraint)); }

void Engine::abort(SequenceId id) { impl_->abort(id); }

void Engine::stop() { impl_->stop(); }

}  // namespace mimo::node
