#include <gtest/gtest.h>

#include "deferred_ops.h"
#include "harness.h"

// A backend that does nothing until it is waited for must give what one gives that does all at
// once: tokens that only the device knows, two steps out, padding rows, and recorded steps.
namespace mimo::node::model_test {
namespace {

std::unique_ptr<Cluster> cluster_of(const std::string& name, DeferredCounts* deferred,
                                    int32_t logits_rows_max = 96) {
  ClusterOptions options;
  options.limits = test_limits(16);
  options.limits.logits_rows_max = logits_rows_max;
  options.deferred = deferred;
  return Cluster::create(checkpoint_folder(name), options).value();
}

std::vector<Sequence> sequences_of(const std::string& name,
                                   const kernels::SamplingParams& sampling) {
  std::vector<Sequence> sequences;
  for (const GoldenCase& one : golden_cases(checkpoint_folder(name))) {
    Sequence sequence{.prompt = one.prompt,
                      .num_outputs = 9 + 3 * static_cast<int32_t>(sequences.size())};
    sequence.sampling = sampling;
    sequence.sampling.seed = 40 + sequences.size();
    sequences.push_back(std::move(sequence));
  }
  sequences.back().prompt.resize(1);  // one that is admitted with its last known token alone
  return sequences;
}

void expect_same(const std::vector<Sequence>& a, const std::vector<Sequence>& b) {
  ASSERT_EQ(a.size(), b.size());
  const auto same = [](const kernels::TokenChoice& x, const kernels::TokenChoice& y) {
    return x.id == y.id && x.logprob == y.logprob && x.rank == y.rank && x.top == y.top &&
           x.finite == y.finite;
  };
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].output_ids(), b[i].output_ids()) << "sequence " << i;
    ASSERT_EQ(a[i].outputs.size(), b[i].outputs.size()) << "sequence " << i;
    for (size_t k = 0; k < a[i].outputs.size(); ++k) {
      EXPECT_TRUE(same(a[i].outputs[k], b[i].outputs[k])) << "sequence " << i << " output " << k;
    }
    ASSERT_EQ(a[i].scores.size(), b[i].scores.size()) << "sequence " << i;
    for (const auto& [position, score] : a[i].scores) {
      EXPECT_TRUE(same(score, b[i].scores.at(position))) << "sequence " << i << " at " << position;
    }
  }
}

struct Drawing {
  const char* name;
  bool recorded;  // its decode steps are
  void (*change)(kernels::SamplingParams&);
};
std::ostream& operator<<(std::ostream& out, const Drawing& drawing) { return out << drawing.name; }

class Deferred : public ::testing::TestWithParam<Drawing> {};

TEST_P(Deferred, GivesWhatABackendThatDoesAllAtOnceGives) {
  kernels::SamplingParams sampling;
  GetParam().change(sampling);
  for (const char* name : {"bf16-small-window", "fp8-real-heads"}) {
    for (const int32_t logits_rows_max : {96, 3}) {
      SCOPED_TRACE(std::string(name) + ", passes of " + std::to_string(logits_rows_max));
      DeferredCounts counts;
      auto plain = cluster_of(name, nullptr);
      auto deferred = cluster_of(name, &counts, logits_rows_max);
      std::vector<Sequence> expected = sequences_of(name, sampling);
      std::vector<Sequence> sequences = expected;

      generate(*plain, expected, 23);
      generate(*deferred, sequences, 23);

      expect_same(sequences, expected);
      // 4 and 8 rows, greedy or not. No step after the first records anything.
      EXPECT_EQ(counts.num_recorded, 2 * 2);
      EXPECT_EQ(counts.num_replayed > 10, GetParam().recorded);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Drawings, Deferred,
    ::testing::Values(
        Drawing{"greedy", true, [](kernels::SamplingParams& p) { p.temperature = 0; }},
        Drawing{"penalties", true,
                [](kernels::SamplingParams& p) {
                  p.repetition_penalty = 1.2f;
                  p.presence_penalty = 0.4f;
                }},
        Drawing{"lists", true, [](kernels::SamplingParams& p) { p.num_logprobs = 7; }},
        Drawing{"all", false,
                [](kernels::SamplingParams& p) { p.num_logprobs = kernels::kAllLogprobs; }}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(DeferredRank, SequencesThatWantDifferentThingsShareSteps) {
  DeferredCounts counts;
  auto plain = cluster_of("bf16-small-window", nullptr);
  auto deferred = cluster_of("bf16-small-window", &counts);
  std::vector<Sequence> expected = sequences_of("bf16-small-window", {});
  expected[0].sampling.temperature = 0;
  expected[1].sampling.num_logprobs = kernels::kTopLogprobsMax + 1;
  expected[1].num_prompt_logprobs = kernels::kAllLogprobs;
  expected[2].sampling.num_logprobs = 5;
  expected[2].num_prompt_logprobs = 2;
  std::vector<Sequence> sequences = expected;

  generate(*plain, expected, 23);
  generate(*deferred, sequences, 23);

  expect_same(sequences, expected);
}

TEST(DeferredRank, StepsAreFinishedInOrderAndAThirdIsRefused) {
  DeferredCounts counts;
  auto cluster = cluster_of("bf16-small-window", &counts);
  Rank& rank = cluster->rank(0);
  StepPlan plan{.epoch = cluster->epoch()};
  plan.admissions.push_back({SlotId{3}, {}, {5, 6, 7}, 3});
  plan.grants.push_back({SlotId{3}, kvcache::KvKind::kFull, {PageId{0}}});
  plan.grants.push_back({SlotId{3}, kvcache::KvKind::kWindow, {PageId{0}}});
  plan.prefills.push_back({SlotId{3}, 3});
  EXPECT_FALSE(rank.finish().ok());

  ASSERT_TRUE(rank.start(plan).ok());
  ASSERT_TRUE(rank.start({.epoch = cluster->epoch(), .step = 1}).ok());
  const auto third = rank.start({.epoch = cluster->epoch(), .step = 2});

  EXPECT_FALSE(rank.finished());
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.error().code, Code::kInternal);
  for (int64_t step = 0; step < 2; ++step) {
    const auto result = rank.finish();
    ASSERT_TRUE(result.ok()) << result.error().to_string();
    EXPECT_EQ(result.value().step, step);
    ASSERT_EQ(result.value().outputs.size(), 1u);
    EXPECT_GE(result.value().outputs[0].choice.id, 0);
    EXPECT_EQ(result.value().num_tokens, step == 0 ? 3 : 1);  // padding is not counted
  }
  // The slot goes to another while its last step is still out.
  ASSERT_TRUE(rank.start({.epoch = cluster->epoch(), .step = 2}).ok());
  StepPlan next{.epoch = cluster->epoch(), .step = 3, .releases = {SlotId{3}}};
  next.admissions = plan.admissions;
  next.grants = plan.grants;
  next.prefills = plan.prefills;
  ASSERT_TRUE(rank.start(next).ok());
  EXPECT_EQ(rank.finish().value().step, 2);
  EXPECT_EQ(rank.finish().value().outputs[0].slot.value, 3);
}

}  // namespace
}  // namespace mimo::node::model_test
