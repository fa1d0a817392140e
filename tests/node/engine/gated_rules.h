#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "grammar/token_rules.h"

namespace mimo::node {

// Compilations that take until the test lets them end; "broken" then does not compile. Makes no
// rules.
//
// Thread: any.
class GatedRules final : public grammar::RuleSource {
 public:
  std::unique_ptr<grammar::TokenRules> start(const grammar::Spec&) override { return nullptr; }
  Result<void> check(const grammar::Spec& spec) override {
    std::unique_lock lock(mutex_);
    ++num_arrived_;
    changed_.notify_all();
    if (!changed_.wait_for(lock, std::chrono::minutes(1), [&] { return num_allowed_ > 0; }))
      return unavailable("nobody let the check end");
    --num_allowed_;
    if (spec.text == "broken") return invalid_argument("at 3: no such rule");
    return {};
  }

  bool wait_arrived(int32_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::minutes(1), [&] { return num_arrived_ >= count; });
  }
  void allow(int32_t count) {
    std::lock_guard lock(mutex_);
    num_allowed_ += count;
    changed_.notify_all();
  }
  int32_t num_arrived() {
    std::lock_guard lock(mutex_);
    return num_arrived_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int32_t num_arrived_ = 0;
  int32_t num_allowed_ = 0;
};

}  // namespace mimo::node
