#include <signal.h>

#include <chrono>
#include <iostream>

#include "tests/system/cluster.h"

// Real processes: a GroupManager here, mimo-workers around it, models/tiny between them.
namespace mimo::testing {
namespace {

using Clock = std::chrono::steady_clock;

class Group : public ClusterTest {
 protected:
  // A group of two that serves.
  void start_pair(const Setting& setting) {
    start_manager(setting);
    start_worker("a");
    start_worker("b");
    ASSERT_TRUE(log_.wait_serving(1, seconds(20))) << manager_->status().reason;
  }

  // Prints a time for whoever reads the test's output.
  static void report(const char* what, Clock::time_point begin) {
    const auto ms = std::chrono::duration_cast<milliseconds>(Clock::now() - begin).count();
    std::cout << "[   TIME   ] " << what << ": " << ms << " ms\n";
  }

  void lose_rank_under_load(int32_t rank) {
    ASSERT_NO_FATAL_FAILURE(start_pair({}));
    ASSERT_NO_FATAL_FAILURE(load(100, 4));
    const std::string victim = worker_of_rank(rank), survivor = worker_of_rank(1 - rank);

    const auto killed = Clock::now();
    worker(victim).signal(SIGKILL);

    ASSERT_TRUE(log_.wait_lost(1, seconds(2)));
    report("from the kill to on_lost", killed);
    EXPECT_EQ(manager_->submit({}).error().code, Code::kUnavailable);
    const auto restarted = Clock::now();
    restart_worker(victim);
    ASSERT_TRUE(log_.wait_serving(2, seconds(20))) << manager_->status().reason;
    report("from the new process to serving again", restarted);
    const std::vector<int64_t> epochs = log_.epochs();
    EXPECT_GT(epochs[1], epochs[0]);
    EXPECT_EQ(worker_of_rank(1 - rank), survivor);
    EXPECT_TRUE(kept_weights(survivor, epochs[1]));
    EXPECT_FALSE(kept_weights(victim, epochs[1]));
    expect_right_answer(200);
    EXPECT_FALSE(log_.was_called_twice_at_once());
  }
};

TEST_F(Group, OfOneAnswersAsRecorded) {
  start_manager({.tp = 1});
  const auto started = Clock::now();
  start_worker("a");

  ASSERT_TRUE(log_.wait_serving(1, seconds(20))) << manager_->status().reason;
  report("from the process's start to serving, tp 1", started);

  expect_right_answer(1);
  EXPECT_EQ(manager_->status().size, 1);
}

TEST_F(Group, OfTwoAnswersAsRecorded) {
  const auto started = Clock::now();
  ASSERT_NO_FATAL_FAILURE(start_pair({}));
  report("from the processes' start to serving, tp 2", started);

  expect_right_answer(1);

  const coordinator::GroupStatus status = manager_->status();
  EXPECT_EQ(status.state, coordinator::GroupState::kServing);
  EXPECT_EQ(status.full_pages, 128);
  EXPECT_EQ(status.backend, "cpu");
  ASSERT_EQ(status.workers.size(), 2u);
  EXPECT_EQ(status.workers[0].state(), "serving");
}

TEST_F(Group, LosesAFollowerUnderLoadAndFormsAgain) { lose_rank_under_load(1); }

TEST_F(Group, LosesItsLeaderUnderLoadAndFormsAgain) { lose_rank_under_load(0); }

TEST_F(Group, AHungWorkerIsLostByItsHeartbeat) {
  ASSERT_NO_FATAL_FAILURE(
      start_pair({.tp = 2, .heartbeat_interval_s = 0.1, .heartbeat_timeout_s = 1.0}));
  const std::string hung = worker_of_rank(1);

  const auto stopped = Clock::now();
  worker(hung).signal(SIGSTOP);

  ASSERT_TRUE(log_.wait_lost(1, seconds(4)));
  report("from SIGSTOP to on_lost, heartbeat timeout 1 s", stopped);
  start_worker("c");
  ASSERT_TRUE(log_.wait_serving(2, seconds(20))) << manager_->status().reason;
  EXPECT_EQ(worker_of_rank(1), "c");
  expect_right_answer(1);
  // Woken up, it finds its stream cut and comes back as a spare.
  worker(hung).signal(SIGCONT);
  expect_right_answer(2);
}

TEST_F(Group, WorkersSurviveTheirCoordinatorAndKeepTheirWeights) {
  ASSERT_NO_FATAL_FAILURE(start_pair({}));
  ASSERT_NO_FATAL_FAILURE(load(100, 2));
  const int64_t first = log_.epochs().front();

  const auto stopped = Clock::now();
  stop_manager();
  start_manager({});

  ASSERT_TRUE(log_.wait_serving(2, seconds(20))) << manager_->status().reason;
  report("from the coordinator's end to serving again", stopped);
  const int64_t second = log_.epochs().back();
  EXPECT_GT(second, first);
  EXPECT_TRUE(kept_weights("a", second));
  EXPECT_TRUE(kept_weights("b", second));
  expect_right_answer(200);
}

TEST_F(Group, ACancelEndsASequence) {
  start_manager({.tp = 1});
  start_worker("a");
  ASSERT_TRUE(log_.wait_serving(1, seconds(20))) << manager_->status().reason;
  ASSERT_NO_FATAL_FAILURE(load(1, 1));

  manager_->cancel(1);

  ASSERT_TRUE(log_.wait_finished(1, seconds(5)));
  EXPECT_EQ(log_.sequence(1).finish, 3);
  EXPECT_LT(log_.sequence(1).tokens.size(), 600u);
}

TEST_F(Group, ARequestThatTheEngineRefusesEndsWithItsReason) {
  start_manager({.tp = 1});
  start_worker("a");
  ASSERT_TRUE(log_.wait_serving(1, seconds(20))) << manager_->status().reason;

  v1::Submit submit;
  submit.set_sequence_id(7);
  submit.add_prompt(1 << 30);
  submit.set_max_tokens(1);
  ASSERT_TRUE(manager_->submit(std::move(submit)).ok());

  ASSERT_TRUE(log_.wait_finished(7, seconds(5)));
  EXPECT_EQ(log_.sequence(7).error_code, static_cast<int32_t>(Code::kInvalidArgument));
  EXPECT_NE(log_.sequence(7).error_message, "");
  expect_right_answer(8);
}

TEST_F(Group, WorkersLeaveWhenTheyAreToldTo) {
  ASSERT_NO_FATAL_FAILURE(start_pair({}));

  manager_->shutdown_workers();

  EXPECT_EQ(worker("a").wait(10'000), 0);
  EXPECT_EQ(worker("b").wait(10'000), 0);
}

TEST_F(Group, AWorkerLeavesCleanlyOnSigtermWhileTheOthersWait) {
  ASSERT_NO_FATAL_FAILURE(start_pair({}));
  ASSERT_NO_FATAL_FAILURE(load(100, 2));

  worker("a").signal(SIGTERM);

  EXPECT_TRUE(log_.wait_lost(1, seconds(2)));
  EXPECT_EQ(worker("a").wait(10'000), 0);
  start_worker("c");
  ASSERT_TRUE(log_.wait_serving(2, seconds(20))) << manager_->status().reason;
  expect_right_answer(1);
}

}  // namespace
}  // namespace mimo::testing
