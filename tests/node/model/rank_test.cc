#include "node/model/rank.h"

#include <gtest/gtest.h>

#include <cmath>

#include "edited_checkpoint.h"
#include "harness.h"

namespace mimo::node::model_test {
namespace {

const std::string kSmall = checkpoint_folder("bf16-small-window");
const std::string kFp8 = checkpoint_folder("fp8-real-heads");
const std::string kTiny = checkpoint_folder("tiny");

std::unique_ptr<Cluster> cluster_of(const std::string& folder, ClusterOptions options) {
  if (options.limits.positions_max == 0) options.limits = test_limits(16);
  return Cluster::create(folder, options).value();
}

// Every case of a checkpoint, drawn at temperature 1 from a seed of its own.
std::vector<Sequence> drawn_sequences(const std::string& folder, int32_t num_outputs) {
  std::vector<Sequence> sequences;
  for (const GoldenCase& one : golden_cases(folder)) {
    Sequence sequence = golden_sequence(one, true);
    sequence.num_outputs = num_outputs;
    sequence.sampling.temperature = 1.0f;
    sequence.sampling.repetition_penalty = 1.1f;
    sequence.sampling.seed = 100 + sequences.size();
    sequences.push_back(std::move(sequence));
  }
  return sequences;
}

void expect_same(const kernels::TokenChoice& a, const kernels::TokenChoice& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.logprob, b.logprob);
  EXPECT_EQ(a.rank, b.rank);
  EXPECT_TRUE(a.top == b.top);
}

// Bit for bit: ids and all logits of all rows.
void expect_same(const Sequence& a, const Sequence& b) {
  ASSERT_EQ(a.outputs.size(), b.outputs.size());
  for (size_t i = 0; i < a.outputs.size(); ++i) expect_same(a.outputs[i], b.outputs[i]);
  ASSERT_EQ(a.scores.size(), b.scores.size());
  for (const auto& [position, score] : a.scores) expect_same(score, b.scores.at(position));
}

class Batch : public ::testing::TestWithParam<const char*> {};

TEST_P(Batch, ManySequencesAtOnceEqualLoneRunsBitForBit) {
  const std::string folder = checkpoint_folder(GetParam());
  auto cluster = cluster_of(folder, {.tp = 2});
  std::vector<Sequence> together = drawn_sequences(folder, 12);

  generate(*cluster, together, 23);

  const std::vector<Sequence> fresh = drawn_sequences(folder, 12);
  for (size_t i = 0; i < fresh.size(); ++i) {
    std::vector<Sequence> alone = {fresh[i]};
    generate(*cluster, alone, 400);
    expect_same(alone[0], together[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, Batch,
                         ::testing::Values("bf16-small-window", "fp8-real-heads"));

TEST(Rank, PreemptedAndReadAgainEqualsUndisturbed) {
  auto cluster = cluster_of(kSmall, {.tp = 2});
  std::vector<Sequence> undisturbed = drawn_sequences(kSmall, 20);
  generate(*cluster, undisturbed, 64);
  std::vector<Sequence> sequences = drawn_sequences(kSmall, 20);
  cluster->reset();
  Planner planner(*cluster, sequences, 64);
  for (int32_t i = 0; i < 4; ++i) planner.admit(i);
  planner.step();
  planner.release(3);  // amid its prompt
  for (int32_t i = 0; i < 5; ++i) planner.step();
  planner.release(1);  // amid its outputs
  planner.step();
  planner.admit(3);
  planner.admit(1);

  planner.run_to_end();

  for (size_t i = 0; i < sequences.size(); ++i) expect_same(sequences[i], undisturbed[i]);
  EXPECT_EQ(planner.free_pages(kvcache::KvKind::kFull), 400);
  EXPECT_EQ(planner.free_pages(kvcache::KvKind::kWindow), 400);
}

TEST(Rank, TwoModelsOfOtherWidthsRunSideBySideInOneProcess) {
  auto small = cluster_of(kSmall, {.tp = 2});
  auto tiny = cluster_of(kTiny, {.tp = 1, .limits = test_limits(64)});
  const std::vector<GoldenCase> small_cases = golden_cases(kSmall);
  const std::vector<GoldenCase> tiny_cases = golden_cases(kTiny);
  std::vector<Sequence> small_sequences, tiny_sequences;
  for (const auto& one : small_cases) small_sequences.push_back(golden_sequence(one, false));
  for (const auto& one : tiny_cases) tiny_sequences.push_back(golden_sequence(one, false));
  Planner small_planner(*small, small_sequences, 32);
  Planner tiny_planner(*tiny, tiny_sequences, 32);
  for (size_t i = 0; i < small_cases.size(); ++i) small_planner.admit(static_cast<int32_t>(i));
  for (size_t i = 0; i < tiny_cases.size(); ++i) tiny_planner.admit(static_cast<int32_t>(i));

  while (!small_planner.done() && !tiny_planner.done() && !HasFatalFailure()) {
    small_planner.step();
    tiny_planner.step();
  }
  small_planner.run_to_end();
  tiny_planner.run_to_end();

  for (size_t i = 0; i < small_cases.size(); ++i) {
    EXPECT_EQ(small_sequences[i].output_ids(), small_cases[i].greedy);
  }
  for (size_t i = 0; i < tiny_cases.size(); ++i) {
    EXPECT_EQ(tiny_sequences[i].output_ids(), tiny_cases[i].greedy);
  }
}

TEST(Rank, ExpertsPlacedWholeGiveTheSameAsByColumns) {
  std::vector<std::vector<Sequence>> results;
  for (const auto placement :
       {parallel::ExpertPlacement::kColumns, parallel::ExpertPlacement::kWhole}) {
    auto cluster = cluster_of(kSmall, {.tp = 4, .experts = placement});
    std::vector<Sequence> sequences;
    for (const auto& one : golden_cases(kSmall)) sequences.push_back(golden_sequence(one, true));
    generate(*cluster, sequences, 64);
    results.push_back(std::move(sequences));
  }

  for (size_t i = 0; i < results[0].size(); ++i) {
    const auto& columns = results[0][i].outputs;
    const auto& whole = results[1][i].outputs;
    ASSERT_EQ(columns.size(), whole.size());
    for (size_t k = 0; k < columns.size(); ++k) {
      EXPECT_EQ(columns[k].id, whole[k].id);
      EXPECT_NEAR(columns[k].logprob, whole[k].logprob, 1e-4);  // sums in another order
    }
  }
}

TEST(Rank, RowsPastOnePassOfTheHeadTakeMorePasses) {
  ModelLimits narrow = test_limits(16);
  narrow.logits_rows_max = 3;
  auto wide = cluster_of(kSmall, {.tp = 2});
  auto passes = cluster_of(kSmall, {.tp = 2, .limits = narrow});
  std::vector<Sequence> expected = drawn_sequences(kSmall, 6);
  std::vector<Sequence> sequences = drawn_sequences(kSmall, 6);

  generate(*wide, expected, 64);
  generate(*passes, sequences, 64);

  for (size_t i = 0; i < sequences.size(); ++i) expect_same(sequences[i], expected[i]);
}

TEST(Rank, TokensFromTheLimitOnAreNeverDrawn) {
  constexpr int32_t kLimit = 100;
  auto cluster = cluster_of(kSmall, {.tp = 4, .vocab_limit = kLimit});
  std::vector<Sequence> sequences(1);
  sequences[0].prompt = {1, 2, 3};
  sequences[0].num_outputs = 60;
  sequences[0].sampling.temperature = 5.0f;  // nearly uniform
  sequences[0].sampling.num_logprobs = kernels::kAllLogprobs;

  generate(*cluster, sequences, 64);

  for (const kernels::TokenChoice& choice : sequences[0].outputs) {
    EXPECT_LT(choice.id, kLimit);
    EXPECT_EQ(choice.top.size(), static_cast<size_t>(kLimit));
  }
}

TEST(Rank, VocabularyThatRanksDoNotDivideIsPadded) {
  constexpr int32_t kVocab = 190;  // 4 ranks hold 48 rows each, the last two rows zero
  EditedCheckpoint edited(kSmall);
  edited.config()["vocab_size"] = kVocab;
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
    EditedCheckpoint::Tensor& tensor = edited.tensor(name);
    tensor.bytes.resize(tensor.bytes.size() / tensor.shape[0] * kVocab);
    tensor.shape[0] = kVocab;
  }
  const std::string folder = edited.save();
  std::vector<Sequence> expected(1);
  expected[0] = golden_sequence(golden_cases(kSmall)[0], true);
  for (int32_t& id : expected[0].prompt) id %= kVocab;
  std::vector<Sequence> sequences = expected;

  generate(*cluster_of(kSmall, {.tp = 4, .vocab_limit = kVocab}), expected, 64);
  generate(*cluster_of(folder, {.tp = 4}), sequences, 64);

  expect_same(sequences[0], expected[0]);
}

TEST(Rank, NanInAWeightIsSaidAndNothingIsDrawn) {
  EditedCheckpoint edited(kSmall);
  EditedCheckpoint::Tensor& norm = edited.tensor("model.layers.2.input_layernorm.weight");
  ASSERT_EQ(norm.dtype, DType::kBf16);
  norm.bytes[0] = 0xc0;
  norm.bytes[1] = 0x7f;
  auto cluster = cluster_of(edited.save(), {.tp = 2});
  StepPlan plan{.epoch = cluster->epoch()};
  plan.admissions.push_back({SlotId{0}, {}, {5, 6, 7}, 3});
  plan.grants.push_back({SlotId{0}, kvcache::KvKind::kFull, {PageId{0}}});
  plan.grants.push_back({SlotId{0}, kvcache::KvKind::kWindow, {PageId{0}}});
  plan.prefills.push_back({SlotId{0}, 3});

  const auto first = cluster->run(plan);
  const auto second = cluster->run({.epoch = cluster->epoch(), .step = 1});

  ASSERT_TRUE(first.ok()) << first.error().to_string();
  ASSERT_EQ(first.value().outputs.size(), 1u);
  EXPECT_TRUE(first.value().outputs[0].drew);
  EXPECT_FALSE(first.value().outputs[0].choice.finite);
  ASSERT_TRUE(second.ok()) << second.error().to_string();
  // The slot goes on until it is released: nobody on the way has looked at the token.
  ASSERT_EQ(second.value().outputs.size(), 1u);
  EXPECT_FALSE(second.value().outputs[0].choice.finite);
  EXPECT_EQ(second.value().outputs[0].choice.id, -1);
}

// The first sequence's pages are given to a second one that reads only its last token anew.
TEST(Rank, AdmittedWithItsCacheItReadsTheRestAlone) {
  auto cluster = cluster_of(kSmall, {.tp = 2});
  const kvcache::KvSpec& window = cluster->specs()[1];
  const std::vector<int32_t> prompt(50, 3);
  std::vector<int32_t> drawn;
  for (const int32_t num_cached : {0, 49}) {
    Admission admission{SlotId{1}, {}, prompt, 50, num_cached};
    admission.sampling.seed = 9;
    StepPlan plan{.epoch = cluster->epoch(), .step = num_cached == 0 ? 0 : 1};
    if (num_cached > 0) plan.releases = {SlotId{1}};
    plan.admissions = {admission};
    for (const kvcache::KvSpec& spec : cluster->specs()) {
      PageGrant grant{SlotId{1}, spec.kind};
      for (int32_t i = spec.first_live_page(num_cached); i < spec.pages_for(50); ++i) {
        grant.pages.push_back(PageId{10 + i});
      }
      plan.grants.push_back(grant);
    }
    plan.prefills = {{SlotId{1}, 50 - num_cached}};

    const auto result = cluster->run(plan);

    ASSERT_TRUE(result.ok()) << result.error().to_string();
    EXPECT_EQ(result.value().num_tokens, 50 - num_cached);
    drawn.push_back(result.value().outputs.at(0).choice.id);
  }
  EXPECT_GT(window.first_live_page(49), 0);  // its table does not begin at page 0
  EXPECT_EQ(drawn[0], drawn[1]);
}

TEST(Rank, MemoryReportSaysWhoseEveryPageIs) {
  auto cluster = cluster_of(kFp8, {.tp = 2});
  Rank& rank = cluster->rank(0);
  const auto of = [&](kvcache::KvKind kind, kvcache::KvPlane plane, kvcache::PageState state) {
    int64_t bytes = 0;
    for (const MemoryReport::Kv& part : rank.memory().kv) {
      if (part.kind == kind && part.plane == plane && part.state == state) bytes += part.bytes;
    }
    return bytes;
  };
  StepPlan plan{.epoch = cluster->epoch()};
  plan.admissions.push_back({SlotId{0}, {}, {5, 6, 7}, 3});
  plan.grants.push_back({SlotId{0}, kvcache::KvKind::kFull, {PageId{3}}});
  plan.grants.push_back({SlotId{0}, kvcache::KvKind::kWindow, {PageId{4}}});
  plan.prefills.push_back({SlotId{0}, 3});
  ASSERT_TRUE(cluster->run(plan).ok());

  // 2 full layers of 2 heads and 2 window layers of 4, 16 tokens a page, f32.
  using kvcache::KvKind, kvcache::KvPlane, kvcache::PageState;
  EXPECT_EQ(of(KvKind::kFull, KvPlane::kK, PageState::kActive), 2 * 2 * 16 * 192 * 4);
  EXPECT_EQ(of(KvKind::kFull, KvPlane::kV, PageState::kActive), 2 * 2 * 16 * 128 * 4);
  EXPECT_EQ(of(KvKind::kWindow, KvPlane::kK, PageState::kActive), 2 * 4 * 16 * 192 * 4);
  EXPECT_EQ(of(KvKind::kWindow, KvPlane::kK, PageState::kFree), 399 * 2 * 4 * 16 * 192 * 4);
  const auto by_purpose = rank.memory().by_purpose;
  EXPECT_EQ(by_purpose[static_cast<size_t>(kernels::Purpose::kK)],
            400 * (2 * 2 + 2 * 4) * 16 * 192 * 4);
}

}  // namespace
}  // namespace mimo::node::model_test
