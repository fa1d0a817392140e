#include "kernels/cuda/attention/attention_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/cuda/attention/attention_args.h"

namespace mimo::kernels::cuda {
namespace {

constexpr int32_t kSms = 132;

AttentionParams step(int32_t num_runs, int32_t rows, int32_t keys_max) {
  AttentionParams p;
  p.num_q_heads = 16;
  p.kv.kv_heads = 1;
  p.kv.page_tokens = 64;
  p.kv.stride = keys_max / 64;
  p.runs.num_runs = num_runs;
  p.runs.num_tokens = num_runs * rows;
  p.runs.rows_per_run_max = rows;
  return p;
}

TEST(AttentionPlan, FewSequencesAreCutIntoManyParts) {
  EXPECT_EQ(plan_decode(step(1, 1, 32768), kSms, {}).splits_max, kSplitsMax);
  EXPECT_EQ(plan_decode(step(16, 1, 32768), kSms, {}).splits_max, 16);
  EXPECT_EQ(plan_decode(step(256, 1, 32768), kSms, {}).splits_max, 1);
}

TEST(AttentionPlan, AWindowIsNotSplit) {
  AttentionParams p = step(1, 8, 256);
  p.window = 128;

  EXPECT_EQ(plan_decode(p, kSms, {}).splits_max, 1);
}

TEST(AttentionPlan, AShortWindowNeedsNoDeepRing) {
  const DecodeTuning deep = {.blocks_per_sm = 1, .deep_ring = true};
  AttentionParams p = step(16, 1, 32768);
  EXPECT_TRUE(plan_decode(p, kSms, deep).deep_ring);
  EXPECT_EQ(plan_decode(p, kSms, deep).splits_max, 8);
  p.window = 128;
  EXPECT_FALSE(plan_decode(p, kSms, deep).deep_ring);
  p.window = 4096;
  EXPECT_TRUE(plan_decode(p, kSms, deep).deep_ring);
}

TEST(AttentionPlan, FewInvariantPartsHaveADeepRing) {
  const DecodeTuning tuning = {.batch_invariant = true};
  EXPECT_TRUE(plan_decode(step(1, 1, 4096), kSms, tuning).deep_ring);
  EXPECT_TRUE(plan_decode(step(4, 1, 32768), kSms, tuning).deep_ring);
  EXPECT_FALSE(plan_decode(step(5, 1, 32768), kSms, tuning).deep_ring) << "two blocks share an SM";
  EXPECT_FALSE(plan_decode(step(1, 1, 4096), kSms, {}).deep_ring);
}

TEST(AttentionPlan, PartialResultsFitTheWorkspace) {
  for (const int32_t num_runs : {1, 2, 3, 7, 16, 33, 100, 131, 132, 133, 264, 265, 1000}) {
    for (const int32_t rows : {1, 2, 4, 5, 8, 100}) {
      for (const int32_t num_sms : {1, 78, 132, 148}) {
        const DecodePlan plan = plan_decode(step(num_runs, rows, 131072), num_sms, {});

        EXPECT_GE(plan.splits_max, 1);
        EXPECT_LE(plan.splits_max, kSplitsMax);
        EXPECT_EQ(plan.tiles, rows <= 4 ? 1 : 2);
        EXPECT_EQ(plan.units, num_runs * plan.tiles);
        if (plan.splits_max > 1) {
          EXPECT_LE(int64_t{plan.units} * plan.splits_max, decode_partials_max(num_sms, {}));
        }
      }
    }
  }
}

TEST(AttentionPlan, StreamsTakeOneBlockOfEachMultiprocessor) {
  EXPECT_EQ(plan_stream(step(1, 1, 4096), kSms, {}).blocks, 66);
  EXPECT_EQ(plan_stream(step(16, 1, 4096), kSms, {}).blocks, kSms);
  EXPECT_EQ(plan_stream(step(256, 8, 4096), kSms, {}).blocks, kSms);
  EXPECT_EQ(plan_stream(step(256, 8, 4096), kSms, {}).tiles, 2);
  EXPECT_FALSE(plan_stream(step(256, 8, 4096), kSms, {}).whole_units);
  EXPECT_LE(2 * plan_stream(step(256, 8, 4096), kSms, {}).blocks, stream_parts_max(kSms));
}

TEST(AttentionPlan, StreamsTakeAShortWindowWhole) {
  AttentionParams p = step(3, 4, 4096);
  p.window = 128;
  EXPECT_TRUE(plan_stream(p, kSms, {}).whole_units);
  EXPECT_EQ(plan_stream(p, kSms, {}).blocks, 3);
  EXPECT_EQ(plan_stream(p, kSms, {}).box_rows, 16);
  p.window = 1024;
  EXPECT_FALSE(plan_stream(p, kSms, {}).whole_units);
  EXPECT_EQ(plan_stream(p, kSms, {}).blocks, kSms);
}

TEST(AttentionPlan, FullLayersAreStreamedWhereTheWidthsFit) {
  AttentionParams p = step(4, 1, 4096);
  p.kv.k_dim = 192;
  p.kv.v_dim = 128;
  EXPECT_STREQ(measured_wish(p, 90), "tma");
  EXPECT_STREQ(measured_wish(p, 80), "mma_sync");
  p.window = 128;
  EXPECT_STREQ(measured_wish(p, 90), "mma_sync");
  p.window = 0;
  p.kv.k_dim = 256;
  EXPECT_STREQ(measured_wish(p, 90), "mma_sync");
  EXPECT_STREQ(measured_wish(step(256, 4, 4096), 90), "tma");
  EXPECT_STREQ(measured_wish(step(2, 100, 4096), 90), "wgmma_sm90");
}

TEST(AttentionPlan, TheWindowKernelHoldsAllKeysAtOnce) {
  AttentionParams p = step(3, 1, 4096);
  EXPECT_FALSE(takes_window(p));
  p.window = 128;
  EXPECT_TRUE(takes_window(p));
  EXPECT_EQ(plan_window(p, kSms).row_tiles, 1);
  p.runs.num_runs = 256;
  EXPECT_TRUE(takes_window(p));
  EXPECT_EQ(plan_window(p, kSms).blocks, 256);
  p.runs.num_runs = 300;
  EXPECT_EQ(plan_window(p, kSms).blocks, 2 * kSms) << "more units than the device holds at once";
  p.runs.rows_per_run_max = 1000;
  EXPECT_TRUE(takes_window(p)) << "decode rows beside a prompt";
  EXPECT_EQ(plan_window(p, kSms).row_tiles, 4);
  EXPECT_EQ(plan_window(p, kSms).tiles, 2);
  p.window = kWindowKeysMax - 6;
  EXPECT_FALSE(takes_window(p));
}

TEST(AttentionPlan, BoxesStayInTheirPage) {
  AttentionParams p = step(3, 4, 4096);
  for (const int32_t page_tokens : {16, 32, 64, 128}) {
    p.kv.page_tokens = page_tokens;
    EXPECT_EQ(plan_stream(p, kSms, {}).box_rows, std::min(page_tokens, 64));
  }
}

TEST(AttentionPlan, EveryPromptHasItsTiles) {
  for (const int32_t rows : {9, 10, 63, 64, 65, 1000, 8192}) {
    for (const int32_t num_runs : {1, 2, 50}) {
      const AttentionParams p = step(num_runs, rows, 131072);
      const int32_t tiles = num_runs * ((rows * 16 + kPromptTileRows - 1) / kPromptTileRows);

      EXPECT_GE(prompt_tiles_max(p), tiles);
      EXPECT_LE(prompt_tiles_max(p), tiles + num_runs);
    }
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda
