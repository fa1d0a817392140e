#include <gtest/gtest.h>

#include "automaton_rules.h"
#include "deferred_ops.h"
#include "harness.h"

// Outputs that are held to a constraint: what is drawn obeys it, whoever shares the step, however
// late the backend works, and after a preemption.
namespace mimo::node::model_test {
namespace {

const std::string kSmall = checkpoint_folder("bf16-small-window");
constexpr int32_t kVocab = 192;

std::unique_ptr<Cluster> cluster_of(int32_t tp, DeferredCounts* deferred = nullptr,
                                    int32_t logits_rows_max = 96) {
  ClusterOptions options;
  options.tp = tp;
  options.limits = test_limits(16);
  options.limits.logits_rows_max = logits_rows_max;
  options.deferred = deferred;
  options.make_rules = [] { return std::make_unique<AutomatonSource>(kVocab); };
  return Cluster::create(kSmall, options).value();
}

AutomatonSource& source_of(Cluster& cluster) {
  return static_cast<AutomatonSource&>(cluster.rules(0));
}

// Seven sequences, some of them under a constraint, greedy and random, with and without lists.
std::vector<Sequence> mixed_sequences() {
  std::vector<Sequence> sequences(7);
  const std::vector<GoldenCase> cases = golden_cases(kSmall);
  const char* const texts[] = {"", "mod 7", "mod 13 end 6", "", "mod 2", "mod 191", "mod 5"};
  for (size_t i = 0; i < sequences.size(); ++i) {
    Sequence& one = sequences[i];
    one.prompt = cases[i % cases.size()].prompt;
    one.prompt.resize(std::min<size_t>(one.prompt.size(), 3 + 5 * i));
    one.num_outputs = i == 2 ? 7 : 10 + static_cast<int32_t>(i);
    one.sampling.temperature = i % 2 == 0 ? 1.5f : 0.0f;
    one.sampling.seed = 60 + i;
    if (i >= 3) one.sampling.num_logprobs = 4;
    if (i == 4) one.sampling.num_logprobs = kernels::kAllLogprobs;
    if (texts[i][0] != '\0') one.constraint = automaton_spec(texts[i]);
  }
  sequences[6].sampling.repetition_penalty = 1.3f;
  return sequences;
}

void expect_obeys(const Sequence& sequence) {
  EXPECT_EQ(sequence.rules_error.code, Code::kOk) << sequence.rules_error.to_string();
  if (sequence.constraint.kind == grammar::Spec::Kind::kNone) return;
  Automaton automaton = Automaton::of(sequence.constraint.text, kVocab);
  for (const int32_t id : sequence.output_ids()) {
    ASSERT_TRUE(automaton.allows(id))
        << sequence.constraint.text << ": " << id << " after " << automaton.count;
    automaton.take(id);
  }
}

void expect_same(const Sequence& a, const Sequence& b) {
  ASSERT_EQ(a.output_ids(), b.output_ids());
  for (size_t i = 0; i < a.outputs.size(); ++i) {
    EXPECT_EQ(a.outputs[i].logprob, b.outputs[i].logprob) << "output " << i;
    EXPECT_EQ(a.outputs[i].rank, b.outputs[i].rank) << "output " << i;
    EXPECT_TRUE(a.outputs[i].top == b.outputs[i].top) << "output " << i;
  }
}

TEST(RankMasks, MaskedAndUnmaskedSlotsTogetherEqualTheirLoneRuns) {
  for (const int32_t tp : {1, 2}) {
    auto cluster = cluster_of(tp);
    std::vector<Sequence> together = mixed_sequences();

    generate(*cluster, together, 9);

    const std::vector<Sequence> fresh = mixed_sequences();
    for (size_t i = 0; i < fresh.size(); ++i) {
      SCOPED_TRACE("tp " + std::to_string(tp) + " sequence " + std::to_string(i));
      std::vector<Sequence> alone = {fresh[i]};
      generate(*cluster, alone, 400);
      expect_same(together[i], alone[0]);
      expect_obeys(together[i]);
    }
  }
}

TEST(RankMasks, ADeviceThatWorksLaterDrawsTheSame) {
  for (const int32_t logits_rows_max : {96, 3}) {
    DeferredCounts counts;
    auto plain = cluster_of(1);
    auto deferred = cluster_of(1, &counts, logits_rows_max);
    std::vector<Sequence> expected = mixed_sequences();
    std::vector<Sequence> sequences = expected;

    generate(*plain, expected, 9);
    generate(*deferred, sequences, 9);

    for (size_t i = 0; i < sequences.size(); ++i) {
      SCOPED_TRACE("sequence " + std::to_string(i));
      expect_same(sequences[i], expected[i]);
      expect_obeys(sequences[i]);
    }
    // 4 and 8 rows: greedy, any draws, and forward alone. Steps record nothing.
    EXPECT_EQ(counts.num_recorded, 2 * 3);
    EXPECT_GE(counts.num_replayed, 5);
  }
}

StepPlan admission_of(Cluster& cluster, int64_t step, const std::string& text) {
  StepPlan plan{.epoch = cluster.epoch(), .step = step};
  Admission admission{SlotId{3}, {}, {5, 6, 7}, 3};
  admission.sampling.temperature = 2;
  if (!text.empty()) admission.constraint = automaton_spec(text);
  plan.admissions.push_back(std::move(admission));
  plan.grants.push_back({SlotId{3}, kvcache::KvKind::kFull, {PageId{0}}});
  plan.grants.push_back({SlotId{3}, kvcache::KvKind::kWindow, {PageId{0}}});
  plan.prefills.push_back({SlotId{3}, 3});
  return plan;
}

TEST(RankMasks, AStepAheadIsQueuedAtOnceAndDrawsWhenTheTokenBeforeIsKnown) {
  DeferredCounts counts;
  auto cluster = cluster_of(1, &counts);
  Rank& rank = cluster->rank(0);
  AutomatonSource& source = source_of(*cluster);

  ASSERT_TRUE(rank.start(admission_of(*cluster, 0, "mod 7")).ok());
  EXPECT_EQ(source.num_filled, 1);  // nothing is older: its draws are queued
  const int32_t replayed = counts.num_replayed;
  ASSERT_TRUE(rank.start({.epoch = cluster->epoch(), .step = 1}).ok());
  EXPECT_EQ(counts.num_replayed, replayed + 1);  // its forward pass
  EXPECT_EQ(source.num_filled, 1);
  EXPECT_FALSE(rank.finished());

  const auto first = rank.finish();
  ASSERT_TRUE(first.ok()) << first.error().to_string();
  EXPECT_EQ(source.num_accepted, 1);
  EXPECT_EQ(source.num_filled, 2);
  EXPECT_FALSE(rank.finished());
  ASSERT_TRUE(rank.start({.epoch = cluster->epoch(), .step = 2}).ok());
  const auto second = rank.finish();
  const auto third = rank.finish();
  ASSERT_TRUE(second.ok() && third.ok());

  Automaton automaton = Automaton::of("mod 7", kVocab);
  for (const auto* result : {&first, &second, &third}) {
    ASSERT_EQ(result->value().outputs.size(), 1u);
    const int32_t id = result->value().outputs[0].choice.id;
    EXPECT_TRUE(automaton.allows(id)) << id;
    automaton.take(id);
  }
}

TEST(RankMasks, ASlotsNextSequenceHearsNothingOfTheLastOnesDraws) {
  DeferredCounts counts;
  auto cluster = cluster_of(1, &counts);
  Rank& rank = cluster->rank(0);
  AutomatonSource& source = source_of(*cluster);
  ASSERT_TRUE(rank.start(admission_of(*cluster, 0, "mod 7")).ok());
  StepPlan next = admission_of(*cluster, 1, "mod 11");
  next.releases = {SlotId{3}};

  ASSERT_TRUE(rank.start(next).ok());
  ASSERT_TRUE(rank.finish().ok());
  const auto second = rank.finish();

  ASSERT_TRUE(second.ok());
  EXPECT_EQ(source.num_accepted, 0);
  EXPECT_EQ(second.value().outputs[0].choice.id % 11, 0);
}

TEST(RankMasks, PreemptedAndReadAgainEqualsUndisturbed) {
  DeferredCounts counts;
  for (DeferredCounts* const deferred : {static_cast<DeferredCounts*>(nullptr), &counts}) {
    auto cluster = cluster_of(1, deferred);
    std::vector<Sequence> undisturbed = mixed_sequences();
    generate(*cluster, undisturbed, 64);
    std::vector<Sequence> sequences = mixed_sequences();
    cluster->reset();
    Planner planner(*cluster, sequences, 64);
    for (int32_t i = 0; i < 7; ++i) planner.admit(i);
    for (int32_t i = 0; i < 4; ++i) planner.step();
    for (const int32_t i : {1, 2, 3}) planner.release(i);
    planner.step();
    for (const int32_t i : {3, 2, 1}) planner.admit(i);

    planner.run_to_end();

    for (size_t i = 0; i < sequences.size(); ++i) {
      SCOPED_TRACE("sequence " + std::to_string(i));
      expect_same(sequences[i], undisturbed[i]);
      expect_obeys(sequences[i]);
    }
  }
}

TEST(RankMasks, RulesThatFailEndTheirOwnDrawsAlone) {
  DeferredCounts counts;
  auto plain = cluster_of(2);
  auto deferred = cluster_of(1, &counts);
  for (Cluster* const cluster : {plain.get(), deferred.get()}) {
    std::vector<Sequence> expected = {mixed_sequences()[0], mixed_sequences()[1]};
    generate(*cluster, expected, 64);
    std::vector<Sequence> sequences = {mixed_sequences()[0], mixed_sequences()[1],
                                       mixed_sequences()[2], mixed_sequences()[5]};
    sequences[2].constraint = automaton_spec("stuck 3");
    sequences[3].constraint = automaton_spec("broken");

    generate(*cluster, sequences, 64);

    for (size_t i = 0; i < expected.size(); ++i) expect_same(sequences[i], expected[i]);
    EXPECT_EQ(sequences[2].rules_error.code, Code::kInternal);
    EXPECT_EQ(sequences[2].rules_error.message, "nowhere to go");
    for (size_t i = 0; i < sequences[2].outputs.size(); ++i) {
      EXPECT_EQ(sequences[2].outputs[i].finite, i < 3) << i;
    }
    EXPECT_EQ(sequences[3].rules_error.code, Code::kInvalidArgument);
    EXPECT_EQ(sequences[3].rules_error.message, "at 1: no such rule");
  }
}

TEST(RankMasks, AnAdmissionWhoseOutputsBreakItsRulesSaysSo) {
  auto cluster = cluster_of(1);
  StepPlan plan = admission_of(*cluster, 0, "mod 7");
  plan.admissions[0].tokens = {5, 6, 14, 7, 8};  // 14 and 7 go, 8 does not
  plan.admissions[0].num_prompt = 2;
  plan.prefills[0].num_tokens = 5;

  const auto result = cluster->run(plan);

  ASSERT_TRUE(result.ok()) << result.error().to_string();
  const SlotOutput& output = result.value().outputs.at(0);
  EXPECT_EQ(output.rules_error.code, Code::kInternal);
  EXPECT_NE(output.rules_error.message.find("token 8"), std::string::npos);
  EXPECT_EQ(output.choice.id, -1);
}

TEST(RankMasks, AnnouncedConstraintsAreStartedAndChangeNothingElse) {
  auto cluster = cluster_of(1);
  auto other = cluster_of(1);
  StepPlan plan = admission_of(*cluster, 0, "mod 7");
  const auto expected = other->run(plan);
  plan.announced = {automaton_spec("mod 3"), automaton_spec("broken")};

  const auto result = cluster->run(plan);

  ASSERT_TRUE(result.ok() && expected.ok());
  EXPECT_EQ(source_of(*cluster).num_started, 3);
  EXPECT_EQ(result.value().result_digest, expected.value().result_digest);
  EXPECT_NE(result.value().plan_digest, expected.value().plan_digest);
}

TEST(RankMasks, ANewEpochForgetsTheRules) {
  DeferredCounts counts;
  auto cluster = cluster_of(1, &counts);
  ASSERT_TRUE(cluster->start(admission_of(*cluster, 0, "mod 7")).ok());
  ASSERT_TRUE(cluster->start({.epoch = cluster->epoch(), .step = 1}).ok());  // held

  cluster->reset();
  const auto result = cluster->run(admission_of(*cluster, 0, ""));

  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_EQ(source_of(*cluster).num_started, 1);
}

}  // namespace
}  // namespace mimo::node::model_test
