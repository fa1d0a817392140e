#pragma once

#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"

namespace mimo::coordinator {

// A few threads that do what would hold up a connection's thread.
//
// Thread:   any.
// Lifetime: the destructor stops it.
class WorkPool final {
 public:
  WorkPool(int32_t num_threads, int64_t queue_max);
  ~WorkPool();
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  // False, and not done, when the queue is full.
  bool post(std::function<void()> work) { return queue_.try_push(std::move(work)); }
  // Does what is queued, then joins. Safe to call twice, by one thread at a time.
  void stop();

 private:
  void run();

  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace mimo::coordinator
