#include "grammar/budget.h"

#include "base/check.h"

namespace mimo::grammar {
namespace {

// A step takes some tens of nanoseconds: the clock is read every 100 us or so.
constexpr int32_t kStepsBetweenChecks = 2048;

thread_local WorkBudget* current = nullptr;

}  // namespace

WorkBudget::WorkBudget(const Work& work)
    : growth_left_(work.growth_max),
      all_steps_left_(work.steps_max),
      steps_left_(kStepsBetweenChecks),
      deadline_(std::chrono::steady_clock::now() + work.time_max) {
  CHECK(current == nullptr);
  current = this;
}

WorkBudget::~WorkBudget() { current = nullptr; }

void WorkBudget::check_time() {
  if (--steps_left_ > 0) return;
  steps_left_ = kStepsBetweenChecks;
  if (std::chrono::steady_clock::now() > deadline_) throw WorkSpent(true);
}

void count_growth() {
  if (current == nullptr) return;
  if (--current->growth_left_ < 0) throw WorkSpent(false);
  current->check_time();
}

void count_step() {
  if (current == nullptr) return;
  if (--current->all_steps_left_ < 0) throw WorkSpent(true);
  current->check_time();
}

}  // namespace mimo::grammar
