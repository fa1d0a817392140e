#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace mimo::kernels {
namespace {

constexpr int64_t kDear = 1'000'000'000;

TEST(ThreadPool, DoesEachItemOnce) {
  ThreadPool pool(3);
  for (int round = 0; round < 200; ++round) {
    const int64_t num_items = round % 7 * 5;
    std::vector<int32_t> times(static_cast<size_t>(num_items), 0);

    pool.run(num_items, kDear, [&](int64_t i) { ++times[static_cast<size_t>(i)]; });

    for (const int32_t n : times) ASSERT_EQ(n, 1);
  }
}

TEST(ThreadPool, CheapLoopsStayOnTheCaller) {
  ThreadPool pool(3);
  const auto caller = std::this_thread::get_id();

  pool.run(100, 100, [&](int64_t) { EXPECT_EQ(std::this_thread::get_id(), caller); });
}

TEST(ThreadPool, PoolsDoNotDisturbEachOther) {
  std::atomic<int64_t> total{0};
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 4; ++rank) {
    ranks.emplace_back([&] {
      ThreadPool pool(2);
      for (int round = 0; round < 50; ++round) {
        pool.run(10, kDear, [&](int64_t i) { total += i; });
      }
    });
  }
  for (std::thread& rank : ranks) rank.join();

  EXPECT_EQ(total, 4 * 50 * 45);
}

}  // namespace
}  // namespace mimo::kernels
