#include "kvcache/page_pool.h"

#include <gtest/gtest.h>

#include <set>

namespace mimo::kvcache {
namespace {

TEST(PagePool, GivesOutEachPageOnce) {
  PagePool pool(5);
  std::vector<PageId> taken;

  ASSERT_TRUE(pool.take(2, taken));
  ASSERT_TRUE(pool.take(3, taken));

  EXPECT_EQ(std::set<PageId>(taken.begin(), taken.end()).size(), 5u);
  EXPECT_EQ(pool.num_free(), 0);
}

TEST(PagePool, TakeIsAllOrNothing) {
  PagePool pool(4);
  std::vector<PageId> taken;
  ASSERT_TRUE(pool.take(3, taken));

  EXPECT_FALSE(pool.take(2, taken));

  EXPECT_EQ(taken.size(), 3u);
  EXPECT_EQ(pool.num_free(), 1);
}

TEST(PagePoolDeathTest, APageGivenBackTwiceEndsTheProcess) {
  PagePool pool(2);
  std::vector<PageId> taken;
  ASSERT_TRUE(pool.take(1, taken));
  pool.give_back(taken);

  EXPECT_DEATH(pool.give_back(taken), "is_free_");
}

}  // namespace
}  // namespace mimo::kvcache
