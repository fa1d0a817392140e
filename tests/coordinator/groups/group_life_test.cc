#include "coordinator/groups/group_life.h"

#include <gtest/gtest.h>

#include "tests/coordinator/groups/sim_cluster.h"

namespace mimo::coordinator {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1'000'000'000;

TEST(GroupLife, WaitsUntilEnoughWorkersHaveJoined) {
  SimCluster cluster({.size = 2, .shard_key = "k"});

  cluster.join("a");

  EXPECT_EQ(cluster.life().state(), GroupState::kWaiting);
  EXPECT_EQ(cluster.life().reason(), "1 of 2 workers have joined");
  cluster.join("b");
  EXPECT_EQ(cluster.life().state(), GroupState::kPreparing);
}

TEST(GroupLife, ServesWhenAllAreReadyAndTheLeaderIsOpen) {
  SimCluster cluster({.size = 2, .shard_key = "k"});
  cluster.join("a");
  cluster.join("b");

  cluster.run_until_quiet();

  EXPECT_EQ(cluster.life().state(), GroupState::kServing);
  EXPECT_EQ(cluster.life().reason(), "");
  EXPECT_EQ(cluster.serving_epoch(), 1);
  EXPECT_EQ(cluster.leader_address(), "a:1");
}

TEST(GroupLife, EpochsGrowPastThoseThatWorkersReport) {
  SimCluster cluster({.size = 1, .shard_key = "k"});
  cluster.join("a", {.last_epoch = 41});

  cluster.run_until_quiet();

  EXPECT_EQ(cluster.serving_epoch(), 42);
}

TEST(GroupLife, ARankLostEndsTheEpochAtOnceAndTheOthersAreTold) {
  SimCluster cluster({.size = 2, .shard_key = "k"});
  const StreamId a = cluster.join("a"), b = cluster.join("b");
  cluster.run_until_quiet();

  cluster.leave(b);

  EXPECT_EQ(cluster.num_lost(), 1);
  EXPECT_EQ(cluster.serving_epoch(), 0);
  EXPECT_TRUE(cluster.was_told_to_end(a, 1));
  EXPECT_EQ(cluster.life().state(), GroupState::kWaiting);
  EXPECT_NE(cluster.life().reason().find("worker b"), std::string::npos);
}

TEST(GroupLife, ANewWorkerTakesTheLostRankAndTheOthersKeepTheirs) {
  SimCluster cluster({.size = 3, .shard_key = "k"});
  const StreamId a = cluster.join("a"), b = cluster.join("b"), c = cluster.join("c");
  cluster.run_until_quiet();
  cluster.leave(a);
  cluster.run_until_quiet();

  const StreamId d = cluster.join("d");
  cluster.run_until_quiet();

  EXPECT_EQ(cluster.serving_epoch(), 2);
  EXPECT_EQ(cluster.rank_of(d), 0);
  EXPECT_EQ(cluster.rank_of(b), 1);
  EXPECT_EQ(cluster.rank_of(c), 2);
}

TEST(GroupLife, AfterACoordinatorsRestartHoldersGetTheirRanksBack) {
  SimCluster cluster({.size = 2, .shard_key = "k"});

  const StreamId a = cluster.join("a", {.last_epoch = 7, .held_key = "k", .held_rank = 1});
  const StreamId b = cluster.join("b", {.last_epoch = 7, .held_key = "k", .held_rank = 0});
  cluster.run_until_quiet();

  EXPECT_EQ(cluster.rank_of(a), 1);
  EXPECT_EQ(cluster.rank_of(b), 0);
  EXPECT_EQ(cluster.serving_epoch(), 8);
}

TEST(GroupLife, AShardOfAnotherModelIsNoReason) {
  SimCluster cluster({.size = 2, .shard_key = "k"});

  const StreamId a = cluster.join("a", {.held_key = "other", .held_rank = 1});
  cluster.join("b");
  cluster.run_until_quiet();

  EXPECT_EQ(cluster.rank_of(a), 0);
}

TEST(GroupLife, ASilentWorkerIsLostAfterTheTimeoutAndHungUpOn) {
  SimCluster cluster({.size = 2, .shard_key = "k", .heartbeat_timeout_ns = kSecond});
  cluster.join("a");
  const StreamId b = cluster.join("b");
  cluster.run_until_quiet();

  cluster.silence(b);
  cluster.advance(900 * kMs);
  EXPECT_EQ(cluster.num_lost(), 0);
  cluster.advance(300 * kMs);

  EXPECT_EQ(cluster.num_lost(), 1);
  EXPECT_TRUE(cluster.was_hung_up_on(b));
  EXPECT_FALSE(cluster.life().workers().contains(b));
}

TEST(GroupLife, TheSameWorkerJoiningAgainReplacesItsOldStream) {
  SimCluster cluster({.size = 1, .shard_key = "k"});
  const StreamId first = cluster.join("a");
  cluster.run_until_quiet();

  const StreamId second = cluster.join("a");
  cluster.run_until_quiet();

  EXPECT_TRUE(cluster.was_hung_up_on(first));
  EXPECT_EQ(cluster.num_lost(), 1);
  EXPECT_EQ(cluster.rank_of(second), 0);
  EXPECT_EQ(cluster.serving_epoch(), 2);
}

TEST(GroupLife, RanksWithDifferentPoolsDoNotServe) {
  SimCluster cluster({.size = 2, .shard_key = "k"});
  cluster.join("a");
  const StreamId b = cluster.join("b");
  cluster.set_figures(b, {.full_pages = 9});

  cluster.run_until_quiet();

  EXPECT_EQ(cluster.serving_epoch(), 0);
  EXPECT_NE(cluster.life().reason().find("9 full pages"), std::string::npos);
}

TEST(GroupLife, AFormationThatFailsIsTriedAgainEverLater) {
  SimCluster cluster(
      {.size = 1, .shard_key = "k", .retry_min_ns = 100 * kMs, .retry_max_ns = 400 * kMs});
  const StreamId a =
      cluster.join("a", {.refusal = {Code::kFailedPrecondition, "another checkpoint"}});

  cluster.run_until_quiet();
  EXPECT_EQ(cluster.life().epoch(), 1);
  EXPECT_NE(cluster.life().reason().find("another checkpoint"), std::string::npos);
  cluster.advance(150 * kMs);
  EXPECT_EQ(cluster.life().epoch(), 2);
  cluster.advance(100 * kMs);
  EXPECT_EQ(cluster.life().epoch(), 2);
  cluster.accept(a);
  cluster.advance(kSecond);

  EXPECT_EQ(cluster.serving_epoch(), 3);
}

TEST(GroupLife, ASpareTakesThePlaceOfAWorkerAtFault) {
  SimCluster cluster({.size = 1, .shard_key = "k"});
  const StreamId a =
      cluster.join("a", {.refusal = {Code::kFailedPrecondition, "another checkpoint"}});
  const StreamId b = cluster.join("b");

  cluster.run_until_quiet();
  cluster.advance(kSecond);

  EXPECT_EQ(cluster.rank_of(b), 0);
  EXPECT_EQ(cluster.rank_of(a), -1);
}

TEST(GroupLife, BackendsAreNotMixed) {
  SimCluster cluster({.size = 2, .shard_key = "k"});
  cluster.join("a", {.backend = "cpu"});
  const StreamId b = cluster.join("b", {.backend = "cuda"});
  cluster.run_until_quiet();
  EXPECT_EQ(cluster.life().state(), GroupState::kWaiting);
  EXPECT_EQ(cluster.life().reason(),
            "the workers that wait have unlike backends (1 cpu, 1 cuda); a group needs 2 of one");

  const StreamId c = cluster.join("c", {.backend = "cuda"});
  cluster.run_until_quiet();

  EXPECT_EQ(cluster.rank_of(b), 0);
  EXPECT_EQ(cluster.rank_of(c), 1);
}

TEST(GroupLife, EveryRankIsToldTheLeastThatOneCanGive) {
  SimCluster cluster({.size = 3, .shard_key = "k"});
  const StreamId a = cluster.join("a", {.kv_bytes = 70});
  const StreamId b = cluster.join("b", {.kv_bytes = 50});
  const StreamId c = cluster.join("c", {.kv_bytes = 60});
  cluster.run_until_quiet();

  for (const StreamId worker : {a, b, c}) EXPECT_EQ(cluster.kv_bytes_of(worker), 50);
}

TEST(GroupLife, AWorkerThatNeverPreparesIsHungUpOn) {
  SimCluster cluster({.size = 1, .shard_key = "k", .form_timeout_ns = kSecond});
  const StreamId a = cluster.join("a", {.hung = true});

  cluster.advance(1500 * kMs);

  EXPECT_TRUE(cluster.was_hung_up_on(a));
}

TEST(GroupLife, ALeadersStreamThatNeverOpensEndsTheEpoch) {
  SimCluster cluster({.size = 1, .shard_key = "k", .form_timeout_ns = kSecond});
  cluster.join("a");
  cluster.set_leader_opens(false);

  cluster.run_until_quiet();
  EXPECT_EQ(cluster.life().state(), GroupState::kLoading);
  cluster.advance(1200 * kMs);

  EXPECT_NE(cluster.life().reason().find("did not open"), std::string::npos);
  EXPECT_EQ(cluster.num_lost(), 0);  // nothing was served, so nothing was lost
}

TEST(GroupLife, ShutDownTellsEveryWorkerAndThoseThatJoinLater) {
  SimCluster cluster({.size = 1, .shard_key = "k"});
  const StreamId a = cluster.join("a");
  cluster.run_until_quiet();

  cluster.shut_down();
  const StreamId b = cluster.join("b");
  cluster.run_until_quiet();

  EXPECT_EQ(cluster.life().state(), GroupState::kDraining);
  EXPECT_TRUE(cluster.was_shut_down(a));
  EXPECT_TRUE(cluster.was_shut_down(b));
  EXPECT_EQ(cluster.num_lost(), 1);
}

TEST(GroupLife, ARefusedHelloChangesNothing) {
  SimCluster cluster({.size = 1, .shard_key = "k"});

  const StreamId a = cluster.join("", {});
  const StreamId b = cluster.join("b", {.last_epoch = -3});

  EXPECT_TRUE(cluster.was_hung_up_on(a));
  EXPECT_TRUE(cluster.was_hung_up_on(b));
  EXPECT_TRUE(cluster.life().workers().empty());
  EXPECT_EQ(cluster.life().epoch(), 0);
}

}  // namespace
}  // namespace mimo::coordinator
