#include "base/bounded_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace mimo {
namespace {

using namespace std::chrono_literals;

TEST(BoundedQueue, FullRefusesAndLeavesTheItem) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  auto first = std::make_unique<int>(1);
  auto second = std::make_unique<int>(2);

  EXPECT_TRUE(queue.try_push(std::move(first)));
  EXPECT_FALSE(queue.try_push(std::move(second)));

  ASSERT_NE(second, nullptr);
  EXPECT_EQ(**queue.try_pop(), 1);
  EXPECT_TRUE(queue.try_push(std::move(second)));
  EXPECT_EQ(queue.size(), 1);
}

TEST(BoundedQueue, ClosedDrains) {
  BoundedQueue<int> queue(3);
  queue.try_push(1);
  queue.try_push(2);

  queue.close();

  EXPECT_FALSE(queue.try_push(3));
  EXPECT_EQ(queue.pop_for(1h), 1);
  EXPECT_EQ(queue.drain(), std::vector<int>{2});
  EXPECT_EQ(queue.pop_for(1h), std::nullopt);  // at once
  EXPECT_TRUE(queue.closed());
}

TEST(BoundedQueue, PopGivesUpAtItsDeadline) {
  BoundedQueue<int> queue(1);
  EXPECT_EQ(queue.pop_for(1ms), std::nullopt);
}

TEST(BoundedQueue, CloseWakesAWaitingPop) {
  BoundedQueue<int> queue(1);
  std::optional<int> popped = 1;
  std::thread waiter([&] { popped = queue.pop_for(1h); });

  queue.close();
  waiter.join();

  EXPECT_EQ(popped, std::nullopt);
}

TEST(BoundedQueue, EveryItemArrivesOnceAndInOrderOfItsPusher) {
  constexpr int kEach = 2000;
  BoundedQueue<std::pair<int, int>> queue(8);
  std::vector<std::thread> pushers;
  for (int id = 0; id < 3; ++id) {
    pushers.emplace_back([&, id] {
      for (int i = 0; i < kEach;) {
        if (queue.try_push({id, i})) {
          ++i;
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  int next[3] = {};
  for (int i = 0; i < 3 * kEach; ++i) {
    const auto item = queue.pop_for(1min);
    ASSERT_TRUE(item.has_value());
    EXPECT_EQ(item->second, next[item->first]++);
  }
  for (std::thread& pusher : pushers) pusher.join();
  EXPECT_EQ(queue.size(), 0);
}

}  // namespace
}  // namespace mimo
