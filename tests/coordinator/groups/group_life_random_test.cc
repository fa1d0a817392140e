#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "tests/coordinator/groups/sim_cluster.h"

namespace mimo::coordinator {
namespace {

constexpr int64_t kMs = 1'000'000;

// One step of an unkind world: workers come, go, fall silent, hang, refuse; answers come late and
// in any order; time jumps.
void disturb(SimCluster& cluster, std::mt19937_64& random) {
  const auto below = [&](size_t bound) { return static_cast<size_t>(random() % bound); };
  const auto workers = cluster.connected();
  const auto any = [&] { return workers[below(workers.size())]; };
  switch (below(16)) {
    case 0:
    case 1:
      cluster.join("w" + std::to_string(below(6)),
                   {.backend = below(8) == 0 ? "cuda" : "cpu",
                    .last_epoch = below(20) == 0 ? cluster.life().epoch() + 5 : 0,
                    .held_key = below(3) == 0 ? "k" : "",
                    .held_rank = static_cast<int32_t>(below(3))});
      return;
    case 2:
      if (!workers.empty()) cluster.leave(any());
      return;
    case 3:
      if (!workers.empty() && below(3) == 0) cluster.silence(any());
      return;
    case 4:
      if (!workers.empty() && below(3) == 0) cluster.hang(any());
      return;
    case 5:
      if (!workers.empty()) cluster.refuse(any(), Error{Code::kInternal, "faulty"});
      return;
    case 6:
      if (!workers.empty()) cluster.accept(any());
      return;
    case 7:
      if (below(4) == 0) cluster.lose_leader();
      return;
    case 8:
      cluster.tick(static_cast<int64_t>(below(1500)) * kMs);
      return;
    case 9:
      cluster.set_leader_opens(below(4) != 0);
      return;
    default:
      if (cluster.num_answers() > 0) cluster.deliver_one(below(cluster.num_answers()));
  }
}

// After any history: once workers behave, the group serves again.
void run_seed(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto size = static_cast<int32_t>(1 + random() % 4);
  SimCluster cluster({.size = size,
                      .shard_key = "k",
                      .form_timeout_ns = 2000 * kMs,
                      .load_timeout_ns = 4000 * kMs});
  const int32_t num_steps = 20 + static_cast<int32_t>(random() % 300);
  for (int32_t i = 0; i < num_steps; ++i) disturb(cluster, random);

  cluster.set_leader_opens(true);
  for (const StreamId worker : cluster.connected()) cluster.accept(worker);
  for (int32_t i = 0; i < size; ++i) cluster.join("good" + std::to_string(i));
  cluster.advance(60'000 * kMs);

  ASSERT_GT(cluster.serving_epoch(), 0) << "seed " << seed << ": " << cluster.life().reason();
}

TEST(GroupLifeRandom, KeepsItsInvariantsAndAlwaysRecovers) {
  const char* given = std::getenv("MIMO_TEST_SEED");
  const uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  const uint64_t count = given != nullptr ? 1 : MIMO_LIFE_SEEDS;
  std::cout << "seeds " << first << " .. " << first + count - 1
            << "; MIMO_TEST_SEED=n runs one of them\n";
  for (uint64_t seed = first; seed < first + count && !HasFatalFailure(); ++seed) {
    SCOPED_TRACE(seed);
    run_seed(seed);
  }
}

}  // namespace
}  // namespace mimo::coordinator
