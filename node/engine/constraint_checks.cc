#include "node/engine/constraint_checks.h"

#include <string>
#include <utility>

namespace mimo::node {

ConstraintChecks::~ConstraintChecks() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    waiting_.clear();
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Result<void> ConstraintChecks::start(std::shared_ptr<grammar::RuleSource> source,
                                     grammar::Spec spec, Done done) {
  {
    std::lock_guard lock(mutex_);
    if (static_cast<int32_t>(waiting_.size()) >= options_.waiting_max) {
      return Error{Code::kResourceExhausted,
                   std::to_string(waiting_.size()) + " constraints wait to be compiled"};
    }
    waiting_.push_back({std::move(source), std::move(spec), std::move(done)});
    const bool short_of_threads = num_idle_ < static_cast<int32_t>(waiting_.size());
    if (short_of_threads && static_cast<int32_t>(threads_.size()) < options_.threads_max) {
      threads_.emplace_back([this] { run(); });
    }
  }
  wake_.notify_one();
  return {};
}

void ConstraintChecks::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++num_idle_;
    wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    --num_idle_;
    if (stopping_) return;
    {
      const Check check = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      check.done(check.source->check(check.spec));
    }
    lock.lock();
  }
}

}  // namespace mimo::node
