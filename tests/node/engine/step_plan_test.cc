#include "node/engine/step_plan.h"

#include <gtest/gtest.h>

#include <random>

namespace mimo::node {
namespace {

using kvcache::KvKind;
constexpr uint64_t kSeed = 20240607;

int32_t pick(std::mt19937_64& random, int32_t low, int32_t high) {
  return std::uniform_int_distribution<int32_t>(low, high)(random);
}

std::string random_text(std::mt19937_64& random) {
  std::string text;
  for (int32_t n = pick(random, 0, 40); n > 0; --n) {
    text.push_back(static_cast<char>(pick(random, -128, 127)));
  }
  return text;
}

grammar::Spec random_constraint(std::mt19937_64& random) {
  grammar::Spec spec;
  spec.kind = static_cast<grammar::Spec::Kind>(pick(random, 0, 6));
  if (spec.kind == grammar::Spec::Kind::kNone) return spec;
  spec.text = random_text(random);
  for (int32_t n = pick(random, 0, 3); n > 0; --n) spec.choices.push_back(random_text(random));
  spec.free_until = random_text(random);
  return spec;
}

Admission random_admission(std::mt19937_64& random) {
  Admission a{.slot = SlotId{pick(random, 0, 300)}};
  for (int32_t n = pick(random, 0, 20); n > 0; --n) a.tokens.push_back(pick(random, 0, 152575));
  a.num_prompt = pick(random, 0, static_cast<int32_t>(a.tokens.size()));
  a.num_cached = pick(random, 0, a.num_prompt);
  a.num_prompt_logprobs = pick(random, -2, 20);
  kernels::SamplingParams& p = a.sampling;
  p.temperature = static_cast<float>(pick(random, 0, 100)) / 50;
  p.top_k = pick(random, -1, 50);
  p.seed = random();
  p.min_tokens = pick(random, 0, 9);
  for (int32_t n = pick(random, 0, 3); n > 0; --n) p.stop_ids.push_back(pick(random, 0, 1 << 30));
  for (int32_t n = pick(random, 0, 3); n > 0; --n) {
    p.logit_bias.emplace_back(pick(random, 0, 1000), static_cast<float>(pick(random, -9, 9)));
  }
  p.num_logprobs = pick(random, -2, 20);
  p.raw_logits = pick(random, 0, 1) == 1;
  a.constraint = random_constraint(random);
  return a;
}

StepPlan random_plan(std::mt19937_64& random) {
  const auto slot = [&] { return SlotId{pick(random, 0, 300)}; };
  const auto kind = [&] { return pick(random, 0, 1) == 0 ? KvKind::kFull : KvKind::kWindow; };
  StepPlan plan{.epoch = Epoch{pick(random, -3, 1000)}, .step = pick(random, 0, 1 << 30)};
  for (int32_t n = pick(random, 0, 3); n > 0; --n) plan.releases.push_back(slot());
  for (int32_t n = pick(random, 0, 2); n > 0; --n) {
    plan.admissions.push_back(random_admission(random));
  }
  for (int32_t n = pick(random, 0, 3); n > 0; --n) {
    plan.returns.push_back({slot(), kind(), pick(random, 0, 70)});
  }
  for (int32_t n = pick(random, 0, 3); n > 0; --n) {
    PageGrant grant{.slot = slot(), .kind = kind()};
    for (int32_t k = pick(random, 0, 9); k > 0; --k) {
      grant.pages.push_back(PageId{pick(random, 0, std::numeric_limits<int32_t>::max())});
    }
    plan.grants.push_back(grant);
  }
  for (int32_t n = pick(random, 0, 3); n > 0; --n) {
    plan.prefills.push_back({slot(), pick(random, 0, 9000)});
  }
  for (int32_t n = pick(random, 0, 2); n > 0; --n) {
    plan.announced.push_back(random_constraint(random));
  }
  return plan;
}

TEST(StepPlan, ComesBackAsItWasWritten) {
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 500; ++round) {
    const StepPlan plan = random_plan(random);
    const auto bytes = encode_plan(plan);

    const auto back = decode_plan(bytes);

    ASSERT_TRUE(back.ok()) << back.error().message << ", seed " << kSeed << " round " << round;
    ASSERT_EQ(encode_plan(back.value()), bytes);
    ASSERT_EQ(back.value().releases, plan.releases);
    ASSERT_EQ(back.value().admissions.size(), plan.admissions.size());
    for (size_t i = 0; i < plan.admissions.size(); ++i) {
      ASSERT_EQ(back.value().admissions[i].tokens, plan.admissions[i].tokens);
      ASSERT_EQ(back.value().admissions[i].sampling.seed, plan.admissions[i].sampling.seed);
      ASSERT_EQ(back.value().admissions[i].sampling.logit_bias,
                plan.admissions[i].sampling.logit_bias);
      ASSERT_EQ(back.value().admissions[i].constraint, plan.admissions[i].constraint);
    }
    ASSERT_EQ(back.value().announced, plan.announced);
    ASSERT_EQ(back.value().grants.size(), plan.grants.size());
    for (size_t i = 0; i < plan.grants.size(); ++i) {
      ASSERT_EQ(back.value().grants[i].pages, plan.grants[i].pages);
    }
  }
}

// Whatever the bytes are, they are refused, or they are exactly what their plan encodes to.
void expect_refused_or_canonical(const std::vector<uint8_t>& bytes, int round) {
  const auto plan = decode_plan(bytes);
  if (plan.ok()) {
    ASSERT_EQ(encode_plan(plan.value()), bytes) << "seed " << kSeed << " round " << round;
    return;
  }
  ASSERT_EQ(plan.error().code, Code::kInvalidArgument) << plan.error().message;
}

TEST(StepPlan, SurvivesMutatedBytes) {
  std::mt19937_64 random(kSeed + 1);
  for (int round = 0; round < 20000; ++round) {
    auto bytes = encode_plan(random_plan(random));
    const int32_t last = static_cast<int32_t>(bytes.size()) - 1;
    for (int32_t n = pick(random, 1, 3); n > 0; --n) {
      bytes[pick(random, 0, last)] = static_cast<uint8_t>(pick(random, 0, 255));
    }
    if (pick(random, 0, 3) == 0) bytes.resize(pick(random, 0, last));
    if (pick(random, 0, 9) == 0) bytes.push_back(static_cast<uint8_t>(pick(random, 0, 255)));

    expect_refused_or_canonical(bytes, round);
    if (HasFatalFailure()) return;
  }
}

TEST(StepPlan, EveryTruncationIsRefused) {
  std::mt19937_64 random(kSeed + 2);
  const auto bytes = encode_plan(random_plan(random));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_plan(std::span(bytes).first(size)).ok()) << size;
  }
}

TEST(StepPlan, AHugeCountIsRefusedBeforeItSizesAnything) {
  const std::vector<uint8_t> bytes = {0xa1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};

  EXPECT_EQ(decode_plan(bytes).error().code, Code::kInvalidArgument);
}

TEST(StepPlan, AnotherSpellingOfTheSameIntegerIsRefused) {
  auto bytes = encode_plan({.epoch = Epoch{0}, .step = 5});
  ASSERT_EQ(bytes[2], 5);
  bytes[2] = 0x85;
  bytes.insert(bytes.begin() + 3, 0x00);

  EXPECT_FALSE(decode_plan(bytes).ok());
}

TEST(StepPlan, IsAFewBytesWhenNothingChanges) {
  EXPECT_LE(encode_plan({.epoch = Epoch{7}, .step = 1'000'000}).size(), 12u);
}

TEST(StepPlan, DigestDependsOnEveryStepBefore) {
  const StepPlan a{.epoch = Epoch{1}, .step = 0};
  const StepPlan b{.epoch = Epoch{1}, .step = 0, .releases = {SlotId{3}}};
  const StepPlan next{.epoch = Epoch{1}, .step = 1};

  EXPECT_EQ(chain_plan_digest(chain_plan_digest(0, a), next),
            chain_plan_digest(chain_plan_digest(0, a), next));
  EXPECT_NE(chain_plan_digest(chain_plan_digest(0, a), next),
            chain_plan_digest(chain_plan_digest(0, b), next));
}

TEST(StepPlan, ResultDigestDependsOnWhoDrewWhat) {
  SlotOutput output{.slot = SlotId{1}, .drew = true};
  output.choice.id = 7;
  const uint64_t seven = chain_result_digest(0, {&output, 1});
  output.choice.id = 8;
  const uint64_t eight = chain_result_digest(0, {&output, 1});
  output.drew = false;

  EXPECT_NE(seven, eight);
  EXPECT_EQ(chain_result_digest(0, {&output, 1}), chain_result_digest(0, {}));
}

TEST(StepReport, ComesBackAndSurvivesMutations) {
  const StepReport report{.epoch = Epoch{4},
                          .step = 9,
                          .plan_digest = 0xfeedfacecafebeefull,
                          .result_digest = 3,
                          .error = internal_error("slot 3")};
  const auto bytes = encode_report(report);
  const auto back = decode_report(bytes).value();
  EXPECT_EQ(back.epoch, report.epoch);
  EXPECT_EQ(back.step, 9);
  EXPECT_EQ(back.plan_digest, report.plan_digest);
  EXPECT_EQ(back.result_digest, 3u);
  EXPECT_EQ(back.error.code, Code::kInternal);
  EXPECT_EQ(back.error.message, "slot 3");

  std::mt19937_64 random(kSeed + 3);
  for (int round = 0; round < 5000; ++round) {
    auto bad = bytes;
    bad[pick(random, 0, static_cast<int32_t>(bad.size()) - 1)] = static_cast<uint8_t>(random());
    const auto decoded = decode_report(bad);
    if (decoded.ok()) {
      ASSERT_EQ(encode_report(decoded.value()), bad) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace mimo::node
