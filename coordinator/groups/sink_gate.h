#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include "coordinator/groups/leader_client.h"

namespace mimo::coordinator {

// Keeps LeaderSink's promises: one call at a time, and nothing of an epoch after its loss.
//
// Thread:    any.
// Lifetime:  shared by the manager and the links of its epochs, whose streams may end after it.
class SinkGate {
 public:
  explicit SinkGate(LeaderSink sink) : sink_(std::move(sink)) {}

  void serving(int64_t epoch) {
    std::lock_guard lock(mutex_);
    epoch_ = epoch;
    sink_.on_serving(epoch);
  }
  void events(int64_t epoch, const v1::LeaderEvents& events) {
    std::lock_guard lock(mutex_);
    if (epoch == epoch_) sink_.on_events(events);
  }
  void lost(int64_t epoch, const Error& error) {
    std::lock_guard lock(mutex_);
    if (epoch != epoch_) return;
    epoch_ = 0;
    sink_.on_lost(error);
  }

 private:
  // Events go from gRPC's thread to the sink without a hop over the owner's: one wake-up less a
  // token.
  std::mutex mutex_;
  LeaderSink sink_;
  int64_t epoch_ = 0;  // 0: none serves
};

}  // namespace mimo::coordinator
