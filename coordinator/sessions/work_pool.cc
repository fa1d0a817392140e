#include "coordinator/sessions/work_pool.h"

#include <chrono>

namespace mimo::coordinator {

WorkPool::WorkPool(int32_t num_threads, int64_t queue_max) : queue_(queue_max) {
  CHECK_GE(num_threads, 1);
  for (int32_t i = 0; i < num_threads; ++i) threads_.emplace_back([this] { run(); });
}

WorkPool::~WorkPool() { stop(); }

void WorkPool::stop() {
  queue_.close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void WorkPool::run() {
  while (true) {
    if (auto work = queue_.pop_for(std::chrono::seconds(60))) {
      (*work)();
    } else if (queue_.closed()) {
      return;
    }
  }
}

}  // namespace mimo::coordinator
