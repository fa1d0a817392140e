#include <gtest/gtest.h>

#include "harness.h"

namespace mimo::node::model_test {
namespace {

const std::string kSmall = checkpoint_folder("bf16-small-window");

std::vector<Sequence> short_sequences() {
  std::vector<Sequence> sequences;
  for (const GoldenCase& one : golden_cases(kSmall)) {
    sequences.push_back(golden_sequence(one, false));
    sequences.back().num_outputs = 6;
  }
  return sequences;
}

void expect_golden(const std::vector<Sequence>& sequences) {
  const std::vector<GoldenCase> cases = golden_cases(kSmall);
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::vector<int32_t> greedy(cases[i].greedy.begin(), cases[i].greedy.begin() + 6);
    EXPECT_EQ(sequences[i].output_ids(), greedy);
  }
}

class RankThreads : public ::testing::TestWithParam<int32_t> {};

TEST_P(RankThreads, RanksOnThreadsOfOneProcessAgree) {
  auto cluster = Cluster::create(kSmall, {.tp = GetParam(), .limits = test_limits(16)}).value();
  std::vector<Sequence> sequences = short_sequences();

  generate(*cluster, sequences, 40);

  expect_golden(sequences);
}

TEST_P(RankThreads, LostRankBreaksAllUntilTheyAreReset) {
  auto cluster = Cluster::create(kSmall, {.tp = GetParam(), .limits = test_limits(16)}).value();
  StepPlan plan{.epoch = cluster->epoch()};
  plan.admissions.push_back({SlotId{0}, {}, {5, 6, 7}, 3});
  plan.grants.push_back({SlotId{0}, kvcache::KvKind::kFull, {PageId{0}}});
  plan.grants.push_back({SlotId{0}, kvcache::KvKind::kWindow, {PageId{0}}});
  plan.prefills.push_back({SlotId{0}, 3});

  cluster->group(cluster->size() - 1).abort();
  const auto lost = cluster->run(plan);
  const auto later = cluster->run({.epoch = cluster->epoch(), .step = 1});

  ASSERT_FALSE(lost.ok());
  EXPECT_EQ(lost.error().code, Code::kUnavailable) << lost.error().to_string();
  ASSERT_FALSE(later.ok());
  EXPECT_EQ(later.error().code, Code::kUnavailable) << later.error().to_string();
  for (int32_t i = 0; i < cluster->size(); ++i) EXPECT_TRUE(cluster->rank(i).broken());

  // The weights are still there; slots, pages and steps begin anew.
  std::vector<Sequence> sequences = short_sequences();
  generate(*cluster, sequences, 40);
  expect_golden(sequences);
}

INSTANTIATE_TEST_SUITE_P(Sizes, RankThreads, ::testing::Values(2, 4));

}  // namespace
}  // namespace mimo::node::model_test
