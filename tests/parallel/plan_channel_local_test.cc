#include "parallel/plan_channel_local.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <thread>

namespace mimo::parallel {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

TEST(LocalPlanChannel, PlansArriveInOrderAndReportsComeBackByRank) {
  auto channel = make_local_plan_channel(3);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < channel.followers.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int step = 0; step < 100; ++step) {
        auto plan = channel.followers[i]->receive(5000);
        ASSERT_TRUE(plan.ok());
        EXPECT_EQ(plan.value(), bytes_of("plan " + std::to_string(step)));
        plan.value().push_back(static_cast<uint8_t>('0' + i));
        EXPECT_TRUE(channel.followers[i]->report(plan.value()).ok());
      }
    });
  }

  for (int step = 0; step < 100; ++step) {
    EXPECT_TRUE(channel.leader->send(bytes_of("plan " + std::to_string(step))).ok());
    if (step == 0) continue;  // one plan ahead
    const auto reports = channel.leader->collect(5000);
    ASSERT_TRUE(reports.ok());
    ASSERT_EQ(reports.value().size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(reports.value()[i],
                bytes_of("plan " + std::to_string(step - 1) + std::to_string(i)));
    }
  }
  EXPECT_TRUE(channel.leader->collect(5000).ok());
  for (std::thread& thread : threads) thread.join();
}

TEST(LocalPlanChannel, ALeaderAloneCollectsNothing) {
  auto channel = make_local_plan_channel(0);

  EXPECT_EQ(channel.leader->collect(0).error().code, Code::kFailedPrecondition);
  EXPECT_TRUE(channel.leader->send(bytes_of("x")).ok());
  EXPECT_TRUE(channel.leader->collect(0).value().empty());
}

TEST(LocalPlanChannel, AMissingReportIsNamedAndTheOthersAreKept) {
  auto channel = make_local_plan_channel(2);
  ASSERT_TRUE(channel.leader->send(bytes_of("x")).ok());
  ASSERT_TRUE(channel.followers[0]->receive(0).ok());
  ASSERT_TRUE(channel.followers[0]->report(bytes_of("a")).ok());

  const auto early = channel.leader->collect(10);
  ASSERT_FALSE(early.ok());
  EXPECT_EQ(early.error().code, Code::kDeadlineExceeded);
  EXPECT_NE(early.error().message.find("rank 2"), std::string::npos) << early.error().message;

  ASSERT_TRUE(channel.followers[1]->receive(0).ok());
  ASSERT_TRUE(channel.followers[1]->report(bytes_of("b")).ok());
  EXPECT_EQ(channel.leader->collect(0).value(), (std::vector<Bytes>{bytes_of("a"), bytes_of("b")}));
}

TEST(LocalPlanChannel, NoPlanIsADeadlineAndNotTheEnd) {
  auto channel = make_local_plan_channel(1);

  EXPECT_EQ(channel.followers[0]->receive(10).error().code, Code::kDeadlineExceeded);
  EXPECT_EQ(channel.followers[0]->report({}).error().code, Code::kFailedPrecondition);

  EXPECT_TRUE(channel.leader->send(bytes_of("x")).ok());
  EXPECT_EQ(channel.followers[0]->receive(0).value(), bytes_of("x"));
}

TEST(LocalPlanChannel, TooManyPlansInFlightAreRefused) {
  auto channel = make_local_plan_channel(1);
  for (int64_t i = 0; i < kPlansInFlightMax; ++i) ASSERT_TRUE(channel.leader->send({}).ok());

  EXPECT_EQ(channel.leader->send({}).error().code, Code::kResourceExhausted);

  ASSERT_TRUE(channel.followers[0]->receive(0).ok());
  ASSERT_TRUE(channel.followers[0]->report({}).ok());
  ASSERT_TRUE(channel.leader->collect(0).ok());
  EXPECT_TRUE(channel.leader->send({}).ok());
}

TEST(LocalPlanChannel, AFollowerThatEndsIsALostPeerAfterItsLastReport) {
  auto channel = make_local_plan_channel(2);
  ASSERT_TRUE(channel.leader->send({}).ok());
  for (auto& follower : channel.followers) {
    ASSERT_TRUE(follower->receive(0).ok());
    ASSERT_TRUE(follower->report({}).ok());
  }
  channel.followers[1].reset();

  EXPECT_TRUE(channel.leader->collect(0).ok());
  const auto sent = channel.leader->send({});
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, Code::kUnavailable);
  EXPECT_EQ(sent.error().message, "rank 2 closed the plan channel");
}

TEST(LocalPlanChannel, AFollowerThatEndsWakesTheLeader) {
  auto channel = make_local_plan_channel(2);
  ASSERT_TRUE(channel.leader->send({}).ok());
  auto waiting = std::async(std::launch::async, [&] { return channel.leader->collect(20000); });

  channel.followers[0].reset();

  EXPECT_EQ(waiting.get().error().code, Code::kUnavailable);
}

TEST(LocalPlanChannel, ALeaderThatEndsIsFoundAfterItsLastPlan) {
  auto channel = make_local_plan_channel(1);
  ASSERT_TRUE(channel.leader->send(bytes_of("last")).ok());
  channel.leader.reset();

  EXPECT_EQ(channel.followers[0]->receive(0).value(), bytes_of("last"));
  EXPECT_EQ(channel.followers[0]->receive(20000).error().code, Code::kUnavailable);
}

TEST(LocalPlanChannel, AbortWakesBothSides) {
  auto channel = make_local_plan_channel(2);
  ASSERT_TRUE(channel.leader->send({}).ok());
  auto leader = std::async(std::launch::async, [&] { return channel.leader->collect(20000); });
  ASSERT_TRUE(channel.followers[0]->receive(0).ok());
  auto follower =
      std::async(std::launch::async, [&] { return channel.followers[0]->receive(20000); });

  channel.followers[1]->abort();

  EXPECT_EQ(leader.get().error().code, Code::kUnavailable);
  EXPECT_EQ(channel.leader->send({}).error().code, Code::kUnavailable);
  EXPECT_EQ(follower.get().error().code, Code::kUnavailable);
}

}  // namespace
}  // namespace mimo::parallel
