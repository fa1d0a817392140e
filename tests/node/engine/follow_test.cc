#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>

#include "node/engine/group_executor.h"
#include "parallel/plan_channel_local.h"
#include "tests/node/engine/engine_world.h"
#include "tests/node/engine/fake_rank.h"

namespace mimo::node {
namespace {

constexpr int64_t kLongMs = 60'000;
// Long enough that what can come has come on most days; nothing fails when it has not.
constexpr int64_t kShortMs = 20;

StepPlan plan_of(int64_t step) { return {.epoch = Epoch{5}, .step = step}; }

// A device that finishes a step when the test says so.
//
// Thread: follow()'s for the runner, any for the rest.
class SlowRunner final : public StepRunner {
 public:
  explicit SlowRunner(int32_t steps_max) : steps_max_(steps_max) {}

  int32_t steps_in_flight_max() const override { return steps_max_; }
  Result<void> start(const StepPlan& plan) override {
    std::lock_guard lock(mutex_);
    if (plan.step == refused_) return internal_error("page 7 is active");
    EXPECT_LT(num_started_ - num_told_, steps_max_);
    ++num_started_;
    changed_.notify_all();
    return {};
  }
  bool finished() override {
    std::lock_guard lock(mutex_);
    ++num_asked_;
    return num_done_ > num_told_;
  }
  Result<StepResult> finish() override {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::minutes(1), [&] { return num_done_ > num_told_; }))
      return unavailable("nobody let the step end");
    return StepResult{.step = num_told_++};
  }

  void let_finish(int64_t num_steps) {
    std::lock_guard lock(mutex_);
    num_done_ += num_steps;
    changed_.notify_all();
  }
  void refuse(int64_t step) {
    std::lock_guard lock(mutex_);
    refused_ = step;
  }
  bool wait_started(int64_t num_steps) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::minutes(1),
                             [&] { return num_started_ >= num_steps; });
  }
  int64_t num_started() {
    std::lock_guard lock(mutex_);
    return num_started_;
  }
  int64_t num_asked() {
    std::lock_guard lock(mutex_);
    return num_asked_;
  }

 private:
  const int32_t steps_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t num_started_ = 0;
  int64_t num_done_ = 0;
  int64_t num_told_ = 0;
  int64_t num_asked_ = 0;
  int64_t refused_ = -1;
};

// follow() on a thread of its own, with the leader's end in the test's hands.
class FollowTest : public ::testing::Test {
 protected:
  ~FollowTest() override {
    if (runner_ != nullptr) runner_->let_finish(100);
    channel_.leader->abort();
  }
  void run(int32_t steps_max) {
    runner_ = std::make_unique<SlowRunner>(steps_max);
    end_ = std::async(std::launch::async, [this] {
      return follow(Epoch{5}, *channel_.followers[0], *runner_, [] { return false; });
    });
  }
  void send(int64_t step) { ASSERT_TRUE(channel_.leader->send(encode_plan(plan_of(step))).ok()); }
  StepReport report() {
    return decode_report(channel_.leader->collect(kLongMs).value()[0]).value();
  }
  bool no_report() {
    const auto collected = channel_.leader->collect(kShortMs);
    return !collected.ok() && collected.error().code == Code::kDeadlineExceeded;
  }

  parallel::LocalPlanChannel channel_ = parallel::make_local_plan_channel(1);
  std::unique_ptr<SlowRunner> runner_;
  std::future<Result<void>> end_;
};

TEST_F(FollowTest, APlanThatComesWhileAStepIsOutIsStarted) {
  run(2);
  send(0);
  ASSERT_TRUE(runner_->wait_started(1));

  send(1);

  ASSERT_TRUE(runner_->wait_started(2));
  EXPECT_TRUE(no_report());
  runner_->let_finish(2);
  EXPECT_EQ(report().step, 0);
  EXPECT_EQ(report().step, 1);
}

TEST_F(FollowTest, AStepIsReportedWithoutAnotherPlan) {
  run(2);
  send(0);
  ASSERT_TRUE(runner_->wait_started(1));
  EXPECT_TRUE(no_report());

  runner_->let_finish(1);

  const StepReport first = report();
  EXPECT_EQ(first.step, 0);
  EXPECT_EQ(first.error.code, Code::kOk);
}

TEST_F(FollowTest, NoMoreStepsAreOutThanTheRunnerTakes) {
  run(2);
  for (int64_t step = 0; step < 4; ++step) send(step);
  ASSERT_TRUE(runner_->wait_started(2));
  EXPECT_TRUE(no_report());
  EXPECT_EQ(runner_->num_started(), 2);

  for (int64_t step = 0; step < 4; ++step) {
    runner_->let_finish(1);
    EXPECT_EQ(report().step, step);
  }
}

TEST_F(FollowTest, WithOneStepAtATimeNothingIsPolled) {
  run(1);
  send(0);
  send(1);
  ASSERT_TRUE(runner_->wait_started(1));
  runner_->let_finish(2);

  EXPECT_EQ(report().step, 0);
  EXPECT_EQ(report().step, 1);
  EXPECT_EQ(runner_->num_asked(), 0);
}

TEST_F(FollowTest, ARefusalIsToldWhileAnOlderStepIsOut) {
  run(2);
  runner_->refuse(1);
  send(0);
  ASSERT_TRUE(runner_->wait_started(1));

  send(1);

  const StepReport refused = report();
  EXPECT_EQ(refused.step, 1);
  EXPECT_EQ(refused.error.message, "page 7 is active");
  EXPECT_EQ(end_.get().error().message, "step 1: page 7 is active");
}

TEST_F(FollowTest, TheChannelsEndIsSeenWhileAStepIsOut) {
  run(2);
  send(0);
  ASSERT_TRUE(runner_->wait_started(1));

  channel_.leader->abort();

  EXPECT_EQ(end_.get().error().code, Code::kUnavailable);
}

TEST(Follow, RefusesPlansOfAnotherEpochOrStepAndGarbage) {
  StepPlan old = plan_of(0);
  old.epoch = Epoch{4};
  for (const auto& bytes :
       {encode_plan(old), encode_plan(plan_of(1)), std::vector<uint8_t>{1, 2, 3}}) {
    auto channel = parallel::make_local_plan_channel(1);
    FakeRank rank({.engine = small_options()});
    ASSERT_TRUE(channel.leader->send(bytes).ok());

    const auto end = follow(Epoch{5}, *channel.followers[0], rank, [] { return false; });

    ASSERT_FALSE(end.ok());
    const auto reports = channel.leader->collect(1000).value();
    EXPECT_NE(decode_report(reports[0]).value().error.code, Code::kOk);
  }
}

}  // namespace
}  // namespace mimo::node
