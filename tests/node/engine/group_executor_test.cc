#include "node/engine/group_executor.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "parallel/plan_channel_local.h"
#include "tests/node/engine/engine_world.h"
#include "tests/node/engine/fake_rank.h"

namespace mimo::node {
namespace {

const SystemClock kClock;

StepRunner runner_of(FakeRank& rank) {
  return [&rank](const StepPlan& plan) { return rank.execute(plan); };
}

// A leader's executor and followers on threads of their own.
class Group {
 public:
  // wraps[i] changes the runner of rank i.
  Group(int32_t size, std::function<StepRunner(int32_t, StepRunner)> wrap)
      : channel_(parallel::make_local_plan_channel(size - 1)) {
    for (int32_t rank = 0; rank < size; ++rank) {
      ranks_.push_back(std::make_unique<FakeRank>(FakeRank::Options{.engine = small_options()}));
    }
    executor_ =
        std::make_unique<GroupExecutor>(GroupExecutor::Options{.report_timeout_ms = 20'000},
                                        wrap(0, runner_of(*ranks_[0])), channel_.leader.get());
    for (int32_t rank = 1; rank < size; ++rank) {
      const StepRunner runner = wrap(rank, runner_of(*ranks_[rank]));
      followers_.push_back(std::async(std::launch::async, [this, rank, runner] {
        auto& end = *channel_.followers[rank - 1];
        return follow(Epoch{5}, end, runner, [this] { return stopping_.load(); });
      }));
    }
  }
  ~Group() { stop(); }

  void stop() {
    stopping_ = true;
    channel_.leader->abort();
  }
  Result<void> follower_end(int32_t rank) { return followers_[rank - 1].get(); }
  GroupExecutor& executor() { return *executor_; }
  FakeRank& rank(int32_t i) { return *ranks_[i]; }

 private:
  parallel::LocalPlanChannel channel_;
  std::vector<std::unique_ptr<FakeRank>> ranks_;
  std::unique_ptr<GroupExecutor> executor_;
  std::atomic<bool> stopping_ = false;
  std::vector<std::future<Result<void>>> followers_;
};

StepRunner same(int32_t, StepRunner runner) { return runner; }

StepPlan one_prompt() {
  StepPlan plan{.epoch = Epoch{5}};
  plan.admissions = {{.slot = SlotId{0}, .tokens = {1, 2, 3}, .num_prompt = 3}};
  plan.prefills = {{SlotId{0}, 3}};
  plan.grants = {{SlotId{0}, kvcache::KvKind::kFull, {PageId{0}}},
                 {SlotId{0}, kvcache::KvKind::kWindow, {PageId{0}}}};
  return plan;
}

// The first step fails with an error that holds all of these.
void expect_failure(Group& group, std::initializer_list<const char*> parts) {
  const auto result = group.executor().execute(one_prompt());
  ASSERT_FALSE(result.ok());
  for (const char* part : parts) {
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  }
}

TEST(GroupExecutor, FourRanksServeAsOne) {
  Group group(4, same);
  Listener listener;
  auto engine = Engine::create(small_options(), listener.hooks(), group.executor(), kClock).value();
  for (int64_t id = 0; id < 8; ++id) ASSERT_TRUE(engine->submit(small_request(id)).ok());

  ASSERT_TRUE(listener.wait_ended(8));
  ASSERT_TRUE(listener.wait([](const Listener& l) { return l.last.num_running == 0; }));
  engine->stop();
  group.stop();

  for (int32_t rank = 1; rank < 4; ++rank) {
    group.follower_end(rank).ok();  // stopped, or the channel ended
    EXPECT_EQ(group.rank(rank).num_active(), group.rank(0).num_active());
  }
  for (int64_t id = 0; id < 8; ++id) {
    EXPECT_EQ(listener.streams[SequenceId{id}].tokens,
              lone_run(small_request(id), small_options(), false).tokens);
  }
}

TEST(GroupExecutor, AGroupOfOneNeedsNoChannel) {
  FakeRank rank({.engine = small_options()});
  GroupExecutor executor({}, runner_of(rank), nullptr);

  const auto result = executor.execute(one_prompt());

  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result.value().outputs[0].drew);
  EXPECT_EQ(executor.execute(one_prompt()).error().message,
            "rank 0, step 0: step 0 is not the next one");
}

TEST(GroupExecutor, AnotherDrawOnOneRankIsNamed) {
  Group group(3, [](int32_t rank, StepRunner runner) -> StepRunner {
    if (rank != 2) return runner;
    return [runner](const StepPlan& plan) {
      auto result = runner(plan);
      result.value().result_digest ^= 1;
      return result;
    };
  });

  expect_failure(group, {"rank 2, step 0: result digest is ", ", the leader's is "});
  EXPECT_EQ(group.follower_end(1).error().code, Code::kUnavailable);
}

TEST(GroupExecutor, AnotherPlanOnOneRankIsNamed) {
  Group group(2, [](int32_t rank, StepRunner runner) -> StepRunner {
    if (rank != 1) return runner;
    return [runner](const StepPlan& plan) {
      StepPlan other = plan;
      other.admissions[0].sampling.seed = 1;
      return runner(other);
    };
  });

  expect_failure(group, {"rank 1, step 0: plan digest is "});
}

TEST(GroupExecutor, AFollowersRefusalIsToldAndEndsIt) {
  Group group(2, [](int32_t rank, StepRunner runner) -> StepRunner {
    if (rank != 1) return runner;
    return [](const StepPlan&) -> Result<StepResult> { return internal_error("page 7 is active"); };
  });

  expect_failure(group, {"rank 1, step 0: page 7 is active"});
  EXPECT_EQ(group.follower_end(1).error().message, "step 0: page 7 is active");
}

TEST(GroupExecutor, TheLeadersErrorCarriesTheFollowersReason) {
  Group group(2, [](int32_t rank, StepRunner) -> StepRunner {
    return [rank](const StepPlan&) -> Result<StepResult> {
      if (rank == 0) return unavailable("all_reduce: a peer is gone");
      return internal_error("page 7 is active");
    };
  });

  expect_failure(group, {"rank 0, step 0: all_reduce: a peer is gone", "page 7 is active"});
}

TEST(GroupExecutor, ASilentRankIsNamedAfterTheTimeout) {
  auto channel = parallel::make_local_plan_channel(1);
  FakeRank rank({.engine = small_options()});
  GroupExecutor executor({.report_timeout_ms = 50}, runner_of(rank), channel.leader.get());

  const auto result = executor.execute(one_prompt());

  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Code::kUnavailable);
  EXPECT_EQ(channel.followers[0]->receive(0).error().code, Code::kUnavailable);
}

TEST(Follow, RefusesPlansOfAnotherEpochOrStepAndGarbage) {
  StepPlan old = one_prompt(), early = one_prompt();
  old.epoch = Epoch{4};
  early.step = 1;
  for (const auto& bytes : {encode_plan(old), encode_plan(early), std::vector<uint8_t>{1, 2, 3}}) {
    auto channel = parallel::make_local_plan_channel(1);
    FakeRank rank({.engine = small_options()});
    ASSERT_TRUE(channel.leader->send(bytes).ok());

    const auto end = follow(Epoch{5}, *channel.followers[0], runner_of(rank), [] { return false; });

    ASSERT_FALSE(end.ok());
    const auto reports = channel.leader->collect(1000).value();
    EXPECT_NE(decode_report(reports[0]).value().error.code, Code::kOk);
  }
}

}  // namespace
}  // namespace mimo::node
