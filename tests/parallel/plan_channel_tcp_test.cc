#include "parallel/plan_channel_tcp.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <numeric>
#include <thread>

namespace mimo::parallel {
namespace {

using Bytes = std::vector<uint8_t>;
using Clock = std::chrono::steady_clock;

Bytes bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Channel {
  std::unique_ptr<PlanLeader> leader;
  std::vector<std::unique_ptr<PlanFollower>> followers;  // index = rank - 1
};

Channel make_channel(int32_t num_followers, const TcpPlanOptions& options = {},
                     const std::string& host = "127.0.0.1") {
  auto listener = TcpPlanListener::open(host, 0, options).value();
  std::vector<std::future<Result<std::unique_ptr<PlanFollower>>>> connecting;
  for (int32_t rank = 1; rank <= num_followers; ++rank) {
    connecting.push_back(std::async(std::launch::async, [&, rank] {
      return connect_plan_follower(listener->address(), rank, Epoch{3}, 10000, options);
    }));
  }
  Channel out;
  out.leader = listener->accept_followers(num_followers + 1, Epoch{3}, 10000).value();
  for (auto& follower : connecting) out.followers.push_back(follower.get().value());
  return out;
}

TEST(TcpPlanChannel, PlansArriveInOrderAndReportsComeBackByRank) {
  Channel channel = make_channel(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int step = 0; step < 200; ++step) {
        auto plan = channel.followers[i]->receive(10000);
        ASSERT_TRUE(plan.ok()) << plan.error().to_string();
        EXPECT_EQ(plan.value(), bytes_of("plan " + std::to_string(step)));
        plan.value().push_back(static_cast<uint8_t>('0' + i));
        EXPECT_TRUE(channel.followers[i]->report(plan.value()).ok());
      }
    });
  }

  for (int step = 0; step <= 200; ++step) {
    if (step < 200) {
      ASSERT_TRUE(channel.leader->send(bytes_of("plan " + std::to_string(step))).ok());
    }
    if (step == 0) continue;  // one plan ahead
    const auto reports = channel.leader->collect(10000);
    ASSERT_TRUE(reports.ok()) << reports.error().to_string();
    ASSERT_EQ(reports.value().size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(reports.value()[i],
                bytes_of("plan " + std::to_string(step - 1) + std::to_string(i)));
    }
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(TcpPlanChannel, EmptyAndLargePlansArriveWhole) {
  Channel channel = make_channel(2);
  Bytes large(12 << 20);
  std::iota(large.begin(), large.end(), uint8_t{0});
  std::vector<std::thread> threads;
  for (auto& follower : channel.followers) {
    threads.emplace_back([&] {
      for (const Bytes& expected : {Bytes{}, large, bytes_of("x"), large}) {
        const auto plan = follower->receive(20000);
        ASSERT_TRUE(plan.ok()) << plan.error().to_string();
        EXPECT_TRUE(plan.value() == expected);
        EXPECT_TRUE(follower->report(plan.value()).ok());
      }
    });
  }

  // All in flight at once: the leader must take reports while it writes.
  for (const Bytes& plan : {Bytes{}, large, bytes_of("x"), large}) {
    const auto sent = channel.leader->send(plan);
    ASSERT_TRUE(sent.ok()) << sent.error().to_string();
  }
  for (const Bytes& plan : {Bytes{}, large, bytes_of("x"), large}) {
    const auto reports = channel.leader->collect(20000);
    ASSERT_TRUE(reports.ok()) << reports.error().to_string();
    EXPECT_TRUE(reports.value() == (std::vector<Bytes>{plan, plan}));
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(TcpPlanChannel, WorksOverIpv6) {
  auto listener = TcpPlanListener::open("::1", 0);
  if (!listener.ok()) GTEST_SKIP() << "no IPv6 here: " << listener.error().message;
  EXPECT_EQ(listener.value()->address().substr(0, 6), "[::1]:");
  Channel channel = make_channel(1, {}, "::1");

  ASSERT_TRUE(channel.leader->send(bytes_of("six")).ok());
  EXPECT_EQ(channel.followers[0]->receive(10000).value(), bytes_of("six"));
}

TEST(TcpPlanChannel, ALeaderAloneCollectsNothing) {
  Channel channel = make_channel(0);

  EXPECT_EQ(channel.leader->collect(0).error().code, Code::kFailedPrecondition);
  EXPECT_TRUE(channel.leader->send(bytes_of("x")).ok());
  EXPECT_TRUE(channel.leader->collect(0).value().empty());
}

TEST(TcpPlanChannel, AMissingReportIsNamedAndTheOthersAreKept) {
  Channel channel = make_channel(2);
  ASSERT_TRUE(channel.leader->send(bytes_of("x")).ok());
  ASSERT_TRUE(channel.followers[0]->receive(10000).ok());
  ASSERT_TRUE(channel.followers[0]->report(bytes_of("a")).ok());

  const auto early = channel.leader->collect(50);
  ASSERT_FALSE(early.ok());
  EXPECT_EQ(early.error().code, Code::kDeadlineExceeded);
  EXPECT_NE(early.error().message.find("rank 2"), std::string::npos) << early.error().message;

  ASSERT_TRUE(channel.followers[1]->receive(10000).ok());
  ASSERT_TRUE(channel.followers[1]->report(bytes_of("b")).ok());
  EXPECT_EQ(channel.leader->collect(10000).value(),
            (std::vector<Bytes>{bytes_of("a"), bytes_of("b")}));
}

TEST(TcpPlanChannel, WhatIsRefusedLeavesTheChannelAsItWas) {
  TcpPlanOptions options;
  options.plan_bytes_max = 8;
  Channel channel = make_channel(1, options);

  EXPECT_EQ(channel.leader->send(Bytes(9)).error().code, Code::kInvalidArgument);
  EXPECT_EQ(channel.followers[0]->receive(10).error().code, Code::kDeadlineExceeded);
  EXPECT_EQ(channel.followers[0]->report({}).error().code, Code::kFailedPrecondition);
  for (int64_t i = 0; i < kPlansInFlightMax; ++i) {
    ASSERT_TRUE(channel.leader->send(Bytes(8)).ok());
  }
  EXPECT_EQ(channel.leader->send(Bytes(8)).error().code, Code::kResourceExhausted);

  ASSERT_TRUE(channel.followers[0]->receive(10000).ok());
  EXPECT_EQ(channel.followers[0]->report(Bytes(9)).error().code, Code::kInvalidArgument);
  ASSERT_TRUE(channel.followers[0]->report(Bytes(8)).ok());
  EXPECT_TRUE(channel.leader->collect(10000).ok());
  EXPECT_TRUE(channel.leader->send(Bytes(8)).ok());
}

TEST(TcpPlanChannel, AFollowerThatEndsWakesTheLeaderAtOnceForGood) {
  Channel channel = make_channel(2);
  ASSERT_TRUE(channel.leader->send({}).ok());
  auto waiting = std::async(std::launch::async, [&] { return channel.leader->collect(20000); });

  const auto start = Clock::now();
  channel.followers[1].reset();

  const auto result = waiting.get();
  EXPECT_LT(seconds_since(start), 2.0);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Code::kUnavailable);
  EXPECT_EQ(result.error().message, "rank 2 closed the plan channel");
  EXPECT_EQ(channel.leader->send({}).error().message, result.error().message);
  // The other follower is told as well.
  EXPECT_TRUE(channel.followers[0]->receive(10000).ok());
  EXPECT_EQ(channel.followers[0]->receive(10000).error().code, Code::kUnavailable);
}

TEST(TcpPlanChannel, ReportsSentBeforeTheEndStillCount) {
  Channel channel = make_channel(1);
  ASSERT_TRUE(channel.leader->send({}).ok());
  ASSERT_TRUE(channel.followers[0]->receive(10000).ok());
  ASSERT_TRUE(channel.followers[0]->report(bytes_of("last")).ok());
  channel.followers[0].reset();

  EXPECT_EQ(channel.leader->collect(10000).value(), (std::vector<Bytes>{bytes_of("last")}));
}

TEST(TcpPlanChannel, ALeaderThatEndsIsFoundAfterItsLastPlan) {
  Channel channel = make_channel(1);
  ASSERT_TRUE(channel.leader->send(bytes_of("last")).ok());
  channel.leader.reset();

  EXPECT_EQ(channel.followers[0]->receive(10000).value(), bytes_of("last"));
  EXPECT_EQ(channel.followers[0]->receive(20000).error().code, Code::kUnavailable);
  EXPECT_EQ(channel.followers[0]->report({}).error().code, Code::kUnavailable);
}

TEST(TcpPlanChannel, AbortOfTheLeaderWakesBothSides) {
  Channel channel = make_channel(2);
  ASSERT_TRUE(channel.leader->send({}).ok());
  ASSERT_TRUE(channel.followers[0]->receive(10000).ok());
  auto leader = std::async(std::launch::async, [&] { return channel.leader->collect(20000); });
  auto follower =
      std::async(std::launch::async, [&] { return channel.followers[0]->receive(20000); });

  const auto start = Clock::now();
  channel.leader->abort();

  EXPECT_EQ(leader.get().error().code, Code::kUnavailable);
  EXPECT_EQ(follower.get().error().code, Code::kUnavailable);
  EXPECT_LT(seconds_since(start), 2.0);
  EXPECT_EQ(channel.leader->send({}).error().code, Code::kUnavailable);
}

TEST(TcpPlanChannel, AbortOfAFollowerWakesBothSides) {
  Channel channel = make_channel(1);
  ASSERT_TRUE(channel.leader->send({}).ok());
  ASSERT_TRUE(channel.followers[0]->receive(10000).ok());
  auto leader = std::async(std::launch::async, [&] { return channel.leader->collect(20000); });
  auto follower =
      std::async(std::launch::async, [&] { return channel.followers[0]->receive(20000); });

  channel.followers[0]->abort();

  EXPECT_EQ(follower.get().error().code, Code::kUnavailable);
  EXPECT_EQ(leader.get().error().code, Code::kUnavailable);
}

TEST(TcpPlanChannel, AFollowerThatReadsNothingIsLostAtTheSendTimeout) {
  TcpPlanOptions options;
  options.send_timeout_ms = 200;
  Channel channel = make_channel(1, options);
  const Bytes large(64 << 20);

  const auto start = Clock::now();
  const auto sent = channel.leader->send(large);

  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.error().code, Code::kUnavailable);
  EXPECT_NE(sent.error().message.find("rank 1"), std::string::npos) << sent.error().message;
  EXPECT_LT(seconds_since(start), 5.0);
  EXPECT_EQ(channel.leader->collect(0).error().message, sent.error().message);
}

}  // namespace
}  // namespace mimo::parallel
