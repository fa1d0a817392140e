#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "coordinator/groups/leader_client.h"

namespace mimo::testing {

// A LeaderSink that writes down what comes, and lets a test wait for it.
//
// Thread:    any. Lifetime: outlives whoever has the sink.
class EventLog {
 public:
  struct Sequence {
    std::vector<int32_t> tokens;
    int32_t finish = 0;
    int32_t error_code = 0;
    std::string error_message;
  };

  coordinator::LeaderSink sink();

  // False when it does not come true in time. The predicate is called under the lock.
  bool wait(std::chrono::milliseconds timeout, const std::function<bool()>& predicate);
  bool wait_serving(int32_t times, std::chrono::milliseconds timeout);
  bool wait_lost(int32_t times, std::chrono::milliseconds timeout);
  bool wait_tokens(int64_t sequence, size_t count, std::chrono::milliseconds timeout);
  bool wait_finished(int64_t sequence, std::chrono::milliseconds timeout);

  Sequence sequence(int64_t id);
  std::vector<int64_t> epochs();  // that served, in order
  int32_t num_lost();
  bool was_called_twice_at_once();

 private:
  struct Turn;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, Sequence> sequences_;
  std::vector<int64_t> epochs_;
  int32_t num_lost_ = 0;
  std::mutex turn_;
  bool overlapped_ = false;
};

}  // namespace mimo::testing
