#include "kernels/cpu/thread_pool.h"

#include <algorithm>

#include "base/check.h"

namespace mimo::kernels {
namespace {

// A wake-up takes about 10 us on a virtual machine; a core does some 20 operations a ns.
constexpr int64_t kCostMin = 400'000;

}  // namespace

ThreadPool::ThreadPool(int32_t num_threads) {
  CHECK_GE(num_threads, 0);
  const auto cores = static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
  const int32_t wanted = num_threads == 0 ? cores : num_threads;
  for (int32_t i = 1; i < wanted; ++i) threads_.emplace_back([this] { thread_main(); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::take_items(Loop& loop) {
  for (;;) {
    const int64_t item = loop.next.fetch_add(1, std::memory_order_relaxed);
    if (item >= loop.num_items) return;
    (*loop.work)(item);
  }
}

void ThreadPool::run(int64_t num_items, int64_t cost, const Work& work) {
  if (threads_.empty() || num_items <= 1 || cost < kCostMin) {
    for (int64_t item = 0; item < num_items; ++item) work(item);
    return;
  }
  Loop loop{&work, num_items};
  {
    std::lock_guard lock(mutex_);
    CHECK(loop_ == nullptr);
    loop_ = &loop;
    ++generation_;
  }
  wake_.notify_all();
  take_items(loop);
  std::unique_lock lock(mutex_);
  loop_ = nullptr;
  idle_.wait(lock, [this] { return num_active_ == 0; });
}

void ThreadPool::thread_main() {
  int64_t seen = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || (loop_ != nullptr && generation_ != seen); });
    if (stopping_) return;
    seen = generation_;
    Loop& loop = *loop_;
    ++num_active_;
    lock.unlock();
    take_items(loop);
    lock.lock();
    if (--num_active_ == 0) idle_.notify_all();
  }
}

}  // namespace mimo::kernels
