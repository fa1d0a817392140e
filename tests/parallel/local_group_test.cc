#include "parallel/local_group.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <thread>

#include "parallel/single_group.h"
#include "tests/parallel/group_cases.h"

namespace mimo::parallel {
namespace {

using test::ReduceCase;
using Clock = std::chrono::steady_clock;

// Runs `body` on a thread a rank and returns when all have returned.
void on_all_ranks(std::vector<std::unique_ptr<TpGroup>>& groups,
                  const std::function<void(TpGroup&)>& body) {
  std::vector<std::thread> threads;
  for (auto& group : groups) threads.emplace_back([&] { body(*group); });
  for (std::thread& thread : threads) thread.join();
}

void expect_sum(TpGroup& group, const ReduceCase& c) {
  auto data = test::rank_data(c, group.rank());
  const auto result = group.all_reduce(c.dtype, data.data(), c.count, {});
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_EQ(data, test::expected_sum(c, group.size()))
      << "rank " << group.rank() << " of " << group.size() << ", " << c.count << " "
      << dtype_name(c.dtype) << ", seed " << c.seed;
}

class LocalGroupOfSize : public ::testing::TestWithParam<int32_t> {};

TEST_P(LocalGroupOfSize, SumsInRankOrderWhateverTheCount) {
  auto groups = make_local_groups(GetParam());

  on_all_ranks(groups, [](TpGroup& group) {
    for (const int64_t count : {0, 1, 7, 1023, 1024, 1025, 100003}) {
      for (const DType dtype : {DType::kF32, DType::kBf16}) expect_sum(group, {dtype, count, 11});
    }
  });
}

TEST_P(LocalGroupOfSize, TwoHundredRandomSumsAreTheSameBitsOnAllRanks) {
  const uint64_t seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  auto groups = make_local_groups(GetParam());

  on_all_ranks(groups, [&](TpGroup& group) {
    for (uint64_t i = 0; i < 200; ++i) {
      ReduceCase c = test::random_case(seed + i);
      c.count %= 5000;
      expect_sum(group, c);
    }
  });
}

TEST_P(LocalGroupOfSize, GathersInRankOrderAlsoInPlace) {
  auto groups = make_local_groups(GetParam());

  on_all_ranks(groups, [](TpGroup& group) {
    for (const int64_t bytes : {0, 1, 13, 5000}) {
      const auto in = test::gather_data(5, bytes, group.rank());
      const auto expected = test::expected_gather(5, bytes, group.size());
      std::vector<uint8_t> out(expected.size(), 0xee);
      EXPECT_TRUE(group.all_gather(in.data(), out.data(), bytes, {}).ok());
      EXPECT_EQ(out, expected);

      std::vector<uint8_t> in_place(expected.size(), 0xee);
      uint8_t* own = in_place.data() + group.rank() * bytes;
      std::copy(in.begin(), in.end(), own);
      EXPECT_TRUE(group.all_gather(own, in_place.data(), bytes, {}).ok());
      EXPECT_EQ(in_place, expected);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, LocalGroupOfSize, ::testing::Values(1, 2, 3, 4, 8));

TEST(SingleGroup, ChangesNothingAndStopsAfterAbort) {
  auto group = make_single_group();
  float data[2] = {1.0f, -2.0f};
  float copy[2] = {};

  EXPECT_TRUE(group->all_reduce(DType::kF32, data, 2, {}).ok());
  EXPECT_TRUE(group->all_gather(data, copy, sizeof(data), {}).ok());
  EXPECT_TRUE(group->barrier().ok());
  EXPECT_EQ(data[0], 1.0f);
  EXPECT_EQ(copy[1], -2.0f);

  group->abort();
  EXPECT_EQ(group->barrier().error().code, Code::kUnavailable);
}

TEST(LocalGroup, NoRankLeavesABarrierBeforeAllAreThere) {
  auto groups = make_local_groups(4);
  std::atomic<int> num_here{0};

  on_all_ranks(groups, [&](TpGroup& group) {
    for (int round = 1; round <= 100; ++round) {
      ++num_here;
      ASSERT_TRUE(group.barrier().ok());
      EXPECT_GE(num_here.load(), 4 * round);
    }
  });
}

TEST(LocalGroup, DifferentSizesBreakAllRanksForGood) {
  auto groups = make_local_groups(3);

  on_all_ranks(groups, [](TpGroup& group) {
    std::vector<float> data(10);
    const auto first = group.all_reduce(DType::kF32, data.data(), group.rank() == 2 ? 6 : 5, {});
    ASSERT_FALSE(first.ok());
    EXPECT_EQ(first.error().code, Code::kInternal);
    EXPECT_EQ(first.error().message,
              "rank 2 called all_reduce of 6 F32, expected all_reduce of 5 F32 as on rank 0");

    const auto second = group.barrier();
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().message, first.error().message);
  });
}

TEST(LocalGroup, ADtypeThatCannotBeSummedIsRefusedAndNothingBreaks) {
  auto groups = make_local_groups(2);

  on_all_ranks(groups, [](TpGroup& group) {
    int32_t data = 1;
    EXPECT_EQ(group.all_reduce(DType::kI32, &data, 1, {}).error().code, Code::kInvalidArgument);
    EXPECT_TRUE(group.barrier().ok());
  });
}

TEST(LocalGroup, ASilentRankIsNamedAtTheTimeout) {
  auto groups = make_local_groups(3, 50);
  auto other = std::async(std::launch::async, [&] { return groups[1]->barrier(); });

  const auto result = groups[0]->barrier();

  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Code::kDeadlineExceeded);
  EXPECT_NE(result.error().message.find("rank 2"), std::string::npos) << result.error().message;
  EXPECT_FALSE(other.get().ok());
}

TEST(LocalGroup, AbortWakesTheOthersAtOnce) {
  auto groups = make_local_groups(3);
  std::vector<std::future<Result<void>>> waiting;
  for (int r : {0, 1}) {
    waiting.push_back(std::async(std::launch::async, [&, r] { return groups[r]->barrier(); }));
  }

  const auto start = Clock::now();
  groups[0]->abort();

  for (auto& result : waiting) EXPECT_EQ(result.get().error().code, Code::kUnavailable);
  EXPECT_LT(Clock::now() - start, std::chrono::milliseconds(1000));
  EXPECT_EQ(groups[2]->barrier().error().code, Code::kUnavailable);
}

TEST(LocalGroup, ADestroyedRankIsLostToTheOthers) {
  auto groups = make_local_groups(2);
  auto waiting = std::async(std::launch::async, [&] { return groups[0]->barrier(); });

  groups[1].reset();

  const auto result = waiting.get();
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message, "rank 1 left the group");
}

TEST(LocalGroup, ARankThatLeavesAfterTheLastCallTakesNothingFromIt) {
  for (int round = 0; round < 200; ++round) {
    auto groups = make_local_groups(2);
    auto other = std::async(std::launch::async, [&] {
      float value = 1.0f;
      const auto result = groups[1]->all_reduce(DType::kF32, &value, 1, {});
      groups[1].reset();
      return result.ok() && value == 3.0f;
    });
    float value = 2.0f;

    const auto result = groups[0]->all_reduce(DType::kF32, &value, 1, {});

    EXPECT_TRUE(result.ok());
    EXPECT_EQ(value, 3.0f);
    EXPECT_TRUE(other.get());
  }
}

}  // namespace
}  // namespace mimo::parallel
