#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace mimo::kernels {

// Threads that share the items of one loop. They sleep between loops and never spin: several ranks
// may share the cores. The caller takes items too, and waits only for threads that have begun, so
// a thread that the machine does not schedule costs nothing.
//
// Thread:    run() from one thread at a time.
// Invariant: between two run() no thread touches the work.
class ThreadPool {
 public:
  // `num_threads` counts the caller; 0 = as many as there are cores.
  explicit ThreadPool(int32_t num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  using Work = std::function<void(int64_t item)>;

  // work(i) for each 0 <= i < num_items, in any order, on any of the threads. `cost` is roughly the
  // loop's arithmetic operations: below a bound waking a thread takes longer than the loop.
  void run(int64_t num_items, int64_t cost, const Work& work);

  int32_t num_threads() const { return static_cast<int32_t>(threads_.size()) + 1; }

 private:
  struct Loop {
    const Work* work;
    int64_t num_items;
    std::atomic<int64_t> next{0};
  };

  void thread_main();
  static void take_items(Loop& loop);

  std::mutex mutex_;  // guards what follows; threads sleep on it, so a queue would not do
  std::condition_variable wake_;
  std::condition_variable idle_;
  Loop* loop_ = nullptr;
  int64_t generation_ = 0;
  int32_t num_active_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace mimo::kernels
