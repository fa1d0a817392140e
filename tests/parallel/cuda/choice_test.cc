#include "parallel/cuda/choice.h"

#include <gtest/gtest.h>

namespace mimo::parallel::cuda {
namespace {

constexpr int64_t kKiB = 1024;
constexpr int64_t kMiB = 1024 * kKiB;

TEST(AllReduceChoice, SmallIsOneShotThenTwoShotThenNccl) {
  for (const int32_t size : {3, 4, 8}) {
    EXPECT_EQ(choose_all_reduce(size, 1, true), Algorithm::kOneShot);
    EXPECT_EQ(choose_all_reduce(size, 256 * kKiB, true), Algorithm::kOneShot);
    EXPECT_EQ(choose_all_reduce(size, 256 * kKiB + 1, true), Algorithm::kTwoShot);
    EXPECT_EQ(choose_all_reduce(size, 8 * kMiB, true), Algorithm::kTwoShot);
    EXPECT_EQ(choose_all_reduce(size, 8 * kMiB + 1, true), Algorithm::kNccl);
  }
}

TEST(AllReduceChoice, TwoRanksStayOneShotForLonger) {
  EXPECT_EQ(choose_all_reduce(2, 8192 * kKiB, true), Algorithm::kOneShot);
  EXPECT_EQ(choose_all_reduce(2, 8192 * kKiB + 1, true), Algorithm::kNccl);
}

TEST(AllReduceChoice, WithoutPeersOrOverMoreThanAHostItIsNccl) {
  EXPECT_EQ(choose_all_reduce(2, 8, false), Algorithm::kNccl);
  EXPECT_EQ(choose_all_reduce(8, kMiB, false), Algorithm::kNccl);
  EXPECT_EQ(choose_all_reduce(16, 8, true), Algorithm::kNccl);
}

TEST(AllGatherChoice, PeersUpToABound) {
  EXPECT_TRUE(gather_by_peers(4, 8 * kMiB, true));
  EXPECT_FALSE(gather_by_peers(4, 8 * kMiB + 1, true));
  EXPECT_FALSE(gather_by_peers(4, 8, false));
  EXPECT_FALSE(gather_by_peers(16, 8, true));
}

TEST(Algorithm, HasAName) {
  EXPECT_STREQ(algorithm_name(Algorithm::kOneShot), "one_shot");
  EXPECT_STREQ(algorithm_name(Algorithm::kTwoShot), "two_shot");
  EXPECT_STREQ(algorithm_name(Algorithm::kNccl), "nccl");
}

}  // namespace
}  // namespace mimo::parallel::cuda
