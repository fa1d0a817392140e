#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <ostream>

#include "harness.h"

namespace mimo::node::model_test {
namespace {

using kvcache::KvKind;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// bf16-small-window: vocabulary 192, window 16. Slot 0 has read its 40 tokens and stands before
// its first decode row; slot 1 has read 4 of 20. Slot 2 is free. Pages of 16 tokens, 400 a group.
StepPlan good_plan() {
  StepPlan plan{.epoch = Epoch{1}, .step = 1};
  plan.prefills.push_back({SlotId{1}, 8});
  return plan;
}

struct BadPlan {
  const char* name;
  std::function<void(StepPlan&)> spoil;
  std::vector<const char*> said;  // all in the message
};
std::ostream& operator<<(std::ostream& out, const BadPlan& bad) { return out << bad.name; }

Admission admission(std::vector<int32_t> tokens) {
  Admission one{SlotId{2}, {}, std::move(tokens)};
  one.num_prompt = static_cast<int32_t>(one.tokens.size());
  return one;
}

PageGrant grant(int32_t slot, KvKind kind, std::vector<int32_t> pages) {
  PageGrant one{SlotId{slot}, kind};
  for (const int32_t page : pages) one.pages.push_back(PageId{page});
  return one;
}

class PlanRefusal : public ::testing::TestWithParam<BadPlan> {
 protected:
  void SetUp() override {
    ModelLimits limits = test_limits(16);
    limits.tokens_max = 64;
    limits.prefill_chunk_max = 64;
    limits.positions_max = 96;
    cluster_ = Cluster::create(checkpoint_folder("bf16-small-window"), {.tp = 1, .limits = limits})
                   .value();
    StepPlan plan{.epoch = Epoch{1}, .step = 0};
    plan.admissions.push_back({SlotId{0}, greedy(), std::vector<int32_t>(40, 7), 40});
    plan.admissions.push_back({SlotId{1}, greedy(), std::vector<int32_t>(20, 9), 20});
    for (const KvKind kind : {KvKind::kFull, KvKind::kWindow}) {
      plan.grants.push_back(grant(0, kind, {0, 1, 2}));
      plan.grants.push_back(grant(1, kind, {3}));
    }
    plan.prefills = {{SlotId{0}, 40}, {SlotId{1}, 4}};
    const auto result = cluster_->run(plan);
    ASSERT_TRUE(result.ok()) << result.error().to_string();
  }
  static kernels::SamplingParams greedy() {
    kernels::SamplingParams params;
    params.temperature = 0;
    params.num_logprobs = kernels::kAllLogprobs;
    return params;
  }
  std::unique_ptr<Cluster> cluster_;
};

TEST_P(PlanRefusal, NamesTheValuesAndChangesNothing) {
  const BadPlan& bad = GetParam();
  const MemoryReport before = cluster_->rank(0).memory();
  StepPlan plan = good_plan();
  bad.spoil(plan);

  const auto refused = cluster_->run(plan);

  ASSERT_FALSE(refused.ok());
  EXPECT_TRUE(refused.error().code == Code::kInternal ||
              refused.error().code == Code::kInvalidArgument ||
              refused.error().code == Code::kUnimplemented)
      << refused.error().to_string();
  for (const char* word : bad.said) {
    EXPECT_NE(refused.error().message.find(word), std::string::npos)
        << word << " is not in: " << refused.error().message;
  }
  const MemoryReport after = cluster_->rank(0).memory();
  for (size_t i = 0; i < before.kv.size(); ++i) EXPECT_EQ(after.kv[i].bytes, before.kv[i].bytes);

  // The right plan gives what it gives a rank that never saw the bad one.
  const auto result = cluster_->run(good_plan());
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  SetUp();
  if (HasFatalFailure()) return;
  const auto expected = cluster_->run(good_plan());
  ASSERT_TRUE(expected.ok()) << expected.error().to_string();
  EXPECT_EQ(result.value().plan_digest, expected.value().plan_digest);
  EXPECT_EQ(result.value().result_digest, expected.value().result_digest);
  ASSERT_EQ(result.value().outputs.size(), expected.value().outputs.size());
  for (size_t i = 0; i < expected.value().outputs.size(); ++i) {
    EXPECT_TRUE(result.value().outputs[i].choice.top == expected.value().outputs[i].choice.top);
  }
}

std::vector<BadPlan> bad_turns_and_slots() {
  return {
      {"stale epoch", [](StepPlan& p) { p.epoch = Epoch{0}; }, {"epoch 0", "1"}},
      {"step again", [](StepPlan& p) { p.step = 0; }, {"step 0", "1"}},
      {"step left out", [](StepPlan& p) { p.step = 5; }, {"step 5", "1"}},
      {"release of no slot", [](StepPlan& p) { p.releases = {SlotId{8}}; }, {"slot 8", "7"}},
      {"release below 0", [](StepPlan& p) { p.releases = {SlotId{-1}}; }, {"slot -1"}},
      {"release of a free slot", [](StepPlan& p) { p.releases = {SlotId{2}}; }, {"slot 2", "free"}},
      {"release twice",
       [](StepPlan& p) {
         p.releases = {SlotId{0}, SlotId{0}};
       },
       {"slot 0"}},
      {"admission to a taken slot",
       [](StepPlan& p) {
         p.admissions = {admission({1})};
         p.admissions[0].slot = SlotId{1};
       },
       {"slot 1", "active"}},
  };
}

std::vector<BadPlan> bad_admissions() {
  const auto spoiled = [](auto change) {
    return [change](StepPlan& p) {
      p.admissions = {admission({1, 2})};
      change(p.admissions[0]);
    };
  };
  return {
      {"token past the vocabulary",
       spoiled([](Admission& a) { a.tokens[1] = 192; }),
       {"slot 2", "token 192", "191"}},
      {"a constraint where there is no vocabulary",
       spoiled([](Admission& a) { a.constraint.kind = grammar::Spec::Kind::kJsonObject; }),
       {"slot 2", "constraint"}},
      {"token below 0", spoiled([](Admission& a) { a.tokens[1] = -3; }), {"token -3"}},
      {"no tokens", spoiled([](Admission& a) { a.tokens.clear(); }), {"0 tokens", "96"}},
      {"too many tokens", spoiled([](Admission& a) { a.tokens.assign(97, 1); }), {"97", "96"}},
      {"more prompt than tokens",
       spoiled([](Admission& a) { a.num_prompt = 3; }),
       {"num_prompt", "3", "2"}},
      {"all of it cached",
       spoiled([](Admission& a) { a.num_cached = 2; }),
       {"num_cached", "2", "1"}},
      {"prompt scores below all",
       spoiled([](Admission& a) { a.num_prompt_logprobs = -3; }),
       {"num_prompt_logprobs", "-3"}},
      {"stop id", spoiled([](Admission& a) { a.sampling.stop_ids = {192}; }), {"stop id 192"}},
      {"bias id",
       spoiled([](Admission& a) {
         a.sampling.logit_bias = {{-1, 1.0f}};
       }),
       {"logit_bias", "-1"}},
      {"bias",
       spoiled([](Admission& a) {
         a.sampling.logit_bias = {{1, kNan}};
       }),
       {"logit_bias", "nan"}},
      {"too many stop ids",
       spoiled([](Admission& a) { a.sampling.stop_ids.assign(257, 5); }),
       {"slot 2", "stop_ids", "257", "256"}},
      {"too many biases",
       spoiled([](Admission& a) {
         a.sampling.logit_bias.assign(1025, {5, 1.0f});
       }),
       {"slot 2", "logit_bias", "1025", "1024"}},
      {"temperature",
       spoiled([](Admission& a) { a.sampling.temperature = -1; }),
       {"temperature", "-1"}},
      {"top_p", spoiled([](Admission& a) { a.sampling.top_p = kNan; }), {"top_p", "nan"}},
      {"penalty",
       spoiled([](Admission& a) { a.sampling.repetition_penalty = 0; }),
       {"repetition_penalty"}},
  };
}

std::vector<BadPlan> bad_pages() {
  return {
      {"return of full pages",
       [](StepPlan& p) {
         p.returns = {{SlotId{0}, KvKind::kFull, 1}};
       },
       {"slot 0", "full"}},
      {"return of more than held",
       [](StepPlan& p) {
         p.returns = {{SlotId{0}, KvKind::kWindow, 4}};
       },
       {"slot 0", "4", "3"}},
      {"return of pages still read",
       [](StepPlan& p) {
         p.returns = {{SlotId{0}, KvKind::kWindow, 2}};
       },
       {"slot 0", "position 40", "page 1"}},
      {"grant of a held page",
       [](StepPlan& p) { p.grants = {grant(1, KvKind::kFull, {2})}; },
       {"page 2", "slot 0"}},
      {"grant of a page twice",
       [](StepPlan& p) {
         p.grants = {grant(1, KvKind::kFull, {9, 9})};
       },
       {"page 9", "twice"}},
      {"grant of no page",
       [](StepPlan& p) { p.grants = {grant(1, KvKind::kWindow, {400})}; },
       {"page 400", "399"}},
      {"grant of more than a window holds",
       [](StepPlan& p) {
         p.grants = {grant(0, KvKind::kWindow, {10, 11, 12, 13})};
       },
       {"slot 0", "7", "6"}},
      {"grant to a free slot",
       [](StepPlan& p) { p.grants = {grant(2, KvKind::kFull, {9})}; },
       {"slot 2", "free"}},
      {"grant past the longest sequence",
       [](StepPlan& p) {
         p.grants = {grant(0, KvKind::kFull, {10, 11, 12, 13})};
       },
       {"slot 0", "7", "6"}},
  };
}

std::vector<BadPlan> bad_rows() {
  return {
      {"prefill of a free slot", [](StepPlan& p) { p.prefills[0].slot = SlotId{3}; }, {"slot 3"}},
      {"prefill of no tokens", [](StepPlan& p) { p.prefills[0].num_tokens = 0; }, {"slot 1", "0"}},
      {"prefill past the known tokens",
       [](StepPlan& p) { p.prefills[0].num_tokens = 17; },
       {"slot 1", "17", "16"}},
      {"prefill twice",
       [](StepPlan& p) {
         p.prefills.push_back({SlotId{1}, 1});
       },
       {"slot 1", "twice"}},
      {"prefill without pages",
       [](StepPlan& p) { p.prefills[0].num_tokens = 13; },
       {"slot 1", "17", "full"}},
      {"prefill with pages of one group only",
       [](StepPlan& p) {
         p.prefills[0].num_tokens = 13;
         p.grants = {grant(1, KvKind::kFull, {9})};
       },
       {"slot 1", "17", "window"}},
      {"more rows than the limit",
       [](StepPlan& p) {
         p.admissions = {admission(std::vector<int32_t>(60, 1))};
         for (const KvKind kind : {KvKind::kFull, KvKind::kWindow}) {
           p.grants.push_back(grant(2, kind, {20, 21, 22, 23}));
         }
         p.prefills.push_back({SlotId{2}, 60});
       },
       {"69", "64"}},
  };
}

INSTANTIATE_TEST_SUITE_P(Slots, PlanRefusal, ::testing::ValuesIn(bad_turns_and_slots()));
INSTANTIATE_TEST_SUITE_P(Admissions, PlanRefusal, ::testing::ValuesIn(bad_admissions()));
INSTANTIATE_TEST_SUITE_P(Pages, PlanRefusal, ::testing::ValuesIn(bad_pages()));
INSTANTIATE_TEST_SUITE_P(Rows, PlanRefusal, ::testing::ValuesIn(bad_rows()));

}  // namespace
}  // namespace mimo::node::model_test
