#pragma once

#include <chrono>
#include <cstdint>
#include <exception>

namespace mimo::grammar {

// What one call into the engine may cost.
struct Work {
  int64_t growth_max = 0;                // automaton states, edges and grammar nodes made
  std::chrono::milliseconds time_max{};  // of the clock on the wall
  int64_t steps_max = INT64_MAX;         // of the parser: the same on every machine
};

// Thrown out of the engine when its work is spent; caught where it was called.
class WorkSpent final : public std::exception {
 public:
  explicit WorkSpent(bool is_time) : is_time_(is_time) {}
  const char* what() const noexcept override {
    return is_time_ ? "takes too long" : "grows too large";
  }

 private:
  bool is_time_;
};

// While it lives, this thread's calls into the engine are held to `work`.
//
// Thread: the one that made it. Budgets do not nest.
class WorkBudget final {
 public:
  explicit WorkBudget(const Work& work);
  ~WorkBudget();
  WorkBudget(const WorkBudget&) = delete;
  WorkBudget& operator=(const WorkBudget&) = delete;

 private:
  friend void count_growth();
  friend void count_step();
  void check_time();

  int64_t growth_left_;
  int64_t all_steps_left_;
  int32_t steps_left_;  // until the clock is looked at
  std::chrono::steady_clock::time_point deadline_;
};

// Called by the engine's innermost operations (cmake/MimoGrammar.cmake); throw WorkSpent.
void count_growth();
void count_step();

}  // namespace mimo::grammar
