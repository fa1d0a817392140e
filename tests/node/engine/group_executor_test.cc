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

// What a test changes of a rank.
struct Changes {
  std::function<Result<void>(StepPlan&)> before_start = {};
  std::function<Result<void>(StepResult&)> after_finish = {};
};

class ChangedRank final : public StepRunner {
 public:
  ChangedRank(int32_t steps_max, Changes changes)
      : rank_({.engine = small_options(), .steps_in_flight_max = steps_max}),
        changes_(std::move(changes)) {}

  int32_t steps_in_flight_max() const override { return rank_.steps_in_flight_max(); }
  Result<void> start(const StepPlan& plan) override {
    StepPlan changed = plan;
    if (changes_.before_start) TRY(changes_.before_start(changed));
    return rank_.start(changed);
  }
  bool finished() override {
    // Who works inside start() must not be asked again and again.
    EXPECT_GT(rank_.steps_in_flight_max(), 1);
    return rank_.finished();
  }
  Result<StepResult> finish() override {
    auto result = rank_.finish();
    if (changes_.after_finish) TRY(changes_.after_finish(result.value()));
    return result;
  }
  const FakeRank& rank() const { return rank_; }

 private:
  FakeRank rank_;
  const Changes changes_;
};

// A leader's executor and followers on threads of their own.
class Group {
 public:
  using Change = std::function<Changes(int32_t rank)>;

  Group(int32_t size, int32_t steps_max, const Change& change)
      : channel_(parallel::make_local_plan_channel(size - 1)) {
    for (int32_t rank = 0; rank < size; ++rank) {
      ranks_.push_back(std::make_unique<ChangedRank>(steps_max, change(rank)));
    }
    executor_ = std::make_unique<GroupExecutor>(GroupExecutor::Options{.report_timeout_ms = 20'000},
                                                *ranks_[0], channel_.leader.get());
    for (int32_t rank = 1; rank < size; ++rank) {
      followers_.push_back(std::async(std::launch::async, [this, rank] {
        return follow(Epoch{5}, *channel_.followers[rank - 1], *ranks_[rank],
                      [this] { return stopping_.load(); });
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
  const FakeRank& rank(int32_t i) const { return ranks_[i]->rank(); }

 private:
  parallel::LocalPlanChannel channel_;
  std::vector<std::unique_ptr<ChangedRank>> ranks_;
  std::unique_ptr<GroupExecutor> executor_;
  std::atomic<bool> stopping_ = false;
  std::vector<std::future<Result<void>>> followers_;
};

Changes none(int32_t) { return {}; }

StepPlan one_prompt() {
  StepPlan plan{.epoch = Epoch{5}};
  plan.admissions = {{.slot = SlotId{0}, .tokens = {1, 2, 3}, .num_prompt = 3}};
  plan.prefills = {{SlotId{0}, 3}};
  plan.grants = {{SlotId{0}, kvcache::KvKind::kFull, {PageId{0}}},
                 {SlotId{0}, kvcache::KvKind::kWindow, {PageId{0}}}};
  return plan;
}

// A decode row of the sequence of one_prompt().
StepPlan one_token(int64_t step) { return {.epoch = Epoch{5}, .step = step}; }

void expect_parts(const std::string& message, std::initializer_list<const char*> parts) {
  for (const char* part : parts) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

// The first step fails, in start() or finish(), with an error that holds all of these.
void expect_failure(Group& group, std::initializer_list<const char*> parts) {
  const auto started = group.executor().start(one_prompt());
  if (!started.ok()) return expect_parts(started.error().message, parts);
  const auto result = group.executor().finish();
  ASSERT_FALSE(result.ok());
  expect_parts(result.error().message, parts);
}

class GroupAtDepth : public ::testing::TestWithParam<int32_t> {};
INSTANTIATE_TEST_SUITE_P(StepsOut, GroupAtDepth, ::testing::Values(1, 2));

TEST_P(GroupAtDepth, FourRanksServeAsOne) {
  Group group(4, GetParam(), none);
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
  FakeRank rank({.engine = small_options(), .steps_in_flight_max = 2});
  GroupExecutor executor({}, rank, nullptr);
  EXPECT_EQ(executor.steps_in_flight_max(), 2);

  ASSERT_TRUE(executor.start(one_prompt()).ok());
  ASSERT_TRUE(executor.start(one_token(1)).ok());

  EXPECT_TRUE(executor.finish().value().outputs[0].drew);
  EXPECT_EQ(executor.finish().value().step, 1);
  EXPECT_EQ(executor.start(one_prompt()).error().message,
            "rank 0, step 0: step 0 is not the next one");
}

TEST_P(GroupAtDepth, AnotherDrawOnOneRankIsNamed) {
  Group group(3, GetParam(), [](int32_t rank) -> Changes {
    if (rank != 2) return {};
    return {.after_finish = [](StepResult& result) -> Result<void> {
      result.result_digest ^= 1;
      return {};
    }};
  });

  expect_failure(group, {"rank 2, step 0: result digest is ", ", the leader's is "});
  EXPECT_EQ(group.follower_end(1).error().code, Code::kUnavailable);
}

TEST_P(GroupAtDepth, AnotherPlanOnOneRankIsNamed) {
  Group group(2, GetParam(), [](int32_t rank) -> Changes {
    if (rank != 1) return {};
    return {.before_start = [](StepPlan& plan) -> Result<void> {
      plan.admissions[0].sampling.seed = 1;
      return {};
    }};
  });

  expect_failure(group, {"rank 1, step 0: plan digest is "});
}

TEST_P(GroupAtDepth, AFollowersRefusalIsToldAndEndsIt) {
  Group group(2, GetParam(), [](int32_t rank) -> Changes {
    if (rank != 1) return {};
    return {.before_start = [](StepPlan&) -> Result<void> {
      return internal_error("page 7 is active");
    }};
  });

  expect_failure(group, {"rank 1, step 0: page 7 is active"});
  EXPECT_EQ(group.follower_end(1).error().message, "step 0: page 7 is active");
}

TEST_P(GroupAtDepth, AFollowersFailureInAStepIsToldAndEndsIt) {
  Group group(2, GetParam(), [](int32_t rank) -> Changes {
    if (rank != 1) return {};
    return {.after_finish = [](StepResult&) -> Result<void> {
      return unavailable("all_reduce: a peer is gone");
    }};
  });

  expect_failure(group, {"rank 1, step 0: all_reduce: a peer is gone"});
  EXPECT_EQ(group.follower_end(1).error().message, "step 0: all_reduce: a peer is gone");
}

TEST_P(GroupAtDepth, TheLeadersErrorCarriesTheFollowersReason) {
  Group group(2, GetParam(), [](int32_t rank) -> Changes {
    return {.before_start = [rank](StepPlan&) -> Result<void> {
      if (rank == 0) return unavailable("all_reduce: a peer is gone");
      return internal_error("page 7 is active");
    }};
  });

  expect_failure(group, {"rank 0, step 0: all_reduce: a peer is gone", "page 7 is active"});
}

// The follower answers step 0 before it meets step 1, or tells of step 1 in its place.
TEST(GroupExecutor, TheLeadersErrorCarriesTheReasonOfAStepFurtherOn) {
  Group group(2, 2, [](int32_t rank) -> Changes {
    return {.before_start = [rank](StepPlan& plan) -> Result<void> {
      if (plan.step == 0) return {};
      if (rank == 0) return unavailable("all_reduce: a peer is gone");
      return internal_error("page 7 is active");
    }};
  });
  ASSERT_TRUE(group.executor().start(one_prompt()).ok());

  const auto started = group.executor().start(one_token(1));

  ASSERT_FALSE(started.ok());
  expect_parts(started.error().message,
               {"rank 0, step 1: all_reduce: a peer is gone", "rank 1, step 1: page 7 is active"});
}

TEST(GroupExecutor, ASilentRankIsNamedAfterTheTimeout) {
  auto channel = parallel::make_local_plan_channel(1);
  FakeRank rank({.engine = small_options()});
  GroupExecutor executor({.report_timeout_ms = 50}, rank, channel.leader.get());
  ASSERT_TRUE(executor.start(one_prompt()).ok());

  const auto result = executor.finish();

  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Code::kUnavailable);
  EXPECT_EQ(channel.followers[0]->receive(0).error().code, Code::kUnavailable);
}

}  // namespace
}  // namespace mimo::node
