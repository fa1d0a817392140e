#include <gtest/gtest.h>

#include "kernels/cuda/product/experts_few_plan.h"

namespace mimo::kernels::cuda::product {
namespace {

// A rank of four: an H200 and the released model.
ExpertsFewProblem rank_of_four(int32_t num_tokens) {
  return {.capability = 90,
          .num_sms = 132,
          .shared_bytes_max = 232448,
          .gate_up_dtype = DType::kF8E4m3,
          .down_dtype = DType::kF8E4m3,
          .hidden = 4096,
          .columns = 512,
          .num_tokens = num_tokens,
          .experts_per_token = 8,
          .quantised = true};
}

TEST(ExpertsFewPlan, TheModelFits) {
  for (int32_t num_tokens = 1; num_tokens <= 4; ++num_tokens) {
    SCOPED_TRACE(num_tokens);
    const ExpertsFewProblem problem = rank_of_four(num_tokens);
    EXPECT_STREQ(experts_few_refusal(problem), nullptr);
    const ExpertsFewShape shape = experts_few_shape(problem);
    EXPECT_EQ(shape.blocks, 128);
    EXPECT_GE(shape.stages, 8);
    EXPECT_LE(shape.shared_bytes, problem.shared_bytes_max);
  }
}

TEST(ExpertsFewPlan, PartsFollowOneAnotherAndAreAligned) {
  for (int32_t num_tokens = 1; num_tokens <= 4; ++num_tokens) {
    SCOPED_TRACE(num_tokens);
    const ExpertsFewShape s = experts_few_shape(rank_of_four(num_tokens));
    const int32_t pairs = num_tokens * 8;
    EXPECT_EQ(s.tokens_at, s.stages * kFewStageBytes);
    EXPECT_GE(s.middle_scales_at, s.tokens_at + 32 * kFewTileBytes);
    EXPECT_GE(s.middle_scales_at, s.tokens_at + pairs / 2 * 4 * kFewTileBytes);
    EXPECT_GE(s.token_scales_at, s.middle_scales_at + pairs / 2 * 4 * 8 * 4);
    EXPECT_GE(s.sums_at, s.token_scales_at + 32 * kFewTokensMax * 4);
    EXPECT_GE(s.tables_at, s.sums_at + 2 * 2 * num_tokens * kFewPitch * 4);
    EXPECT_GE(s.tables_at, s.sums_at + pairs * kFewRows * 4);
    EXPECT_GE(s.barriers_at, s.tables_at + kFewPairsMax * 4 * (5 + kFewTokensMax) + 4);
    EXPECT_GE(s.shared_bytes, s.barriers_at + s.stages * 16 + 1024);
    for (const int32_t at :
         {s.middle_scales_at, s.token_scales_at, s.sums_at, s.tables_at, s.barriers_at}) {
      EXPECT_EQ(at % 16, 0);
    }
  }
}

TEST(ExpertsFewPlan, IsTakenWhereItWasMeasuredFaster) {
  EXPECT_TRUE(experts_few_pays(1));
  EXPECT_TRUE(experts_few_pays(4));
  EXPECT_FALSE(experts_few_pays(5));
}

TEST(ExpertsFewPlan, WhatItCannotDoIsRefusedByName) {
  const auto refused = [](auto change) {
    ExpertsFewProblem problem = rank_of_four(1);
    change(problem);
    const char* const why = experts_few_refusal(problem);
    return why == nullptr ? std::string() : std::string(why);
  };
  const auto has = [](const std::string& text, const char* word) {
    EXPECT_NE(text.find(word), std::string::npos) << text;
  };
  has(refused([](auto& p) { p.capability = 100; }), "capability");
  has(refused([](auto& p) { p.down_dtype = DType::kBf16; }), "e4m3");
  has(refused([](auto& p) { p.quantised = false; }), "copy");
  has(refused([](auto& p) { p.num_tokens = 0; }), "tokens");
  has(refused([](auto& p) { p.num_tokens = 5; }), "tokens");
  has(refused([](auto& p) { p.experts_per_token = 33; }), "pairs");
  has(refused([](auto& p) { p.hidden = 4096 + 128; }), "256");
  has(refused([](auto& p) { p.columns = 384; }), "256");
  has(refused([](auto& p) { p.hidden = 16384; }), "8192");
  has(refused([](auto& p) { p.gate_up_rows_per_scale = 64; }), "128 rows");
  has(refused([](auto& p) { p.num_sms = 114; }), "at once");
  has(refused([](auto& p) { p.shared_bytes_max = 64 * 1024; }), "shared memory");
}

}  // namespace
}  // namespace mimo::kernels::cuda::product
