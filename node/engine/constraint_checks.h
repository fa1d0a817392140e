#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/result.h"
#include "grammar/token_rules.h"

namespace mimo::node {

// Finds out whether constraints compile, on threads of its own, before the sequences that have them
// come to the engine: neither the engine nor a network thread waits for a compilation. The threads
// only wait for the source's own; they are made when they are needed.
//
// Thread:    any.
// Lifetime:  the destructor waits for the checks under way and drops the others untold.
class ConstraintChecks {
 public:
  struct Options {
    int32_t threads_max = 8;  // checks under way; one of a constraint compiled before is quick
    int32_t waiting_max = 1024;
  };
  // On one of the threads, once.
  using Done = std::function<void(const Result<void>& checked)>;

  explicit ConstraintChecks(const Options& options) : options_(options) {}
  ~ConstraintChecks();
  ConstraintChecks(const ConstraintChecks&) = delete;
  ConstraintChecks& operator=(const ConstraintChecks&) = delete;

  // The source is shared, since whoever made it may be gone before the check's end.
  // kResourceExhausted: as many wait as may; `done` is not called then.
  Result<void> start(std::shared_ptr<grammar::RuleSource> source, grammar::Spec spec, Done done);

 private:
  struct Check {
    std::shared_ptr<grammar::RuleSource> source;
    grammar::Spec spec;
    Done done;
  };

  void run();

  const Options options_;
  // Guards all below: how many threads are idle must be known with what is queued.
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Check> waiting_;
  int32_t num_idle_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace mimo::node
