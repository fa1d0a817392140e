#include "checkpoint/kv_scale.h"

#include <gtest/gtest.h>

namespace mimo::checkpoint {
namespace {

AttentionShape shape_of(int32_t kv_heads, int32_t k_dim, int32_t v_dim) {
  return {kv_heads * 2, kv_heads, k_dim, v_dim, 8, 1e4, 0, false};
}

TEST(KvScale, TheReleasedFullLayersAreJoint) {
  const AttentionShape shape = shape_of(4, 192, 128);

  EXPECT_EQ(kv_scale_rule(shape, 8, 4).value(), KvScaleRule::kJointPerHead);
  EXPECT_EQ(kv_scale_rule(shape, 6, 4).value(), KvScaleRule::kPlain);
}

TEST(KvScale, TheBlockAcrossTheEdgeIsKs) {
  const AttentionShape shape = shape_of(4, 192, 128);
  const auto joint = KvScaleRule::kJointPerHead;
  for (int32_t head = 0; head < 4; ++head) {
    EXPECT_EQ(k_scale_row(joint, shape, head * 192 + 127), (ScaleRowRef{false, 2 * head}));
    EXPECT_EQ(k_scale_row(joint, shape, head * 192 + 128), (ScaleRowRef{false, 2 * head + 1}));
    EXPECT_EQ(v_scale_row(joint, shape, head * 128 + 63), (ScaleRowRef{false, 2 * head + 1}));
    EXPECT_EQ(v_scale_row(joint, shape, head * 128 + 64), (ScaleRowRef{true, head}));
  }
}

TEST(KvScale, VMayHaveNoRowsOfItsOwn) {
  const AttentionShape shape = shape_of(4, 192, 64);
  const auto joint = KvScaleRule::kJointPerHead;

  EXPECT_EQ(kv_scale_rows(joint, shape), (KvScaleRows{8, 0}));
  EXPECT_EQ(kv_scale_rule(shape, 8, 0).value(), joint);
  EXPECT_EQ(v_scale_row(joint, shape, 3 * 64 + 63), (ScaleRowRef{false, 7}));
}

TEST(KvScale, CountsThatFitNoRuleAreRefusedWithTheNumbers) {
  const auto refused = kv_scale_rule(shape_of(4, 192, 128), 8, 5);

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message,
            "scale rows: 8 K and 5 V; 4 kv heads of widths 192 (K) and 128 (V) have 6 K and 4 V in "
            "plain 128-row blocks, or 8 K and 4 V in joint blocks of each head's K and V rows");
}

TEST(KvScale, OneHeadOfOddWidthHidesTheRule) {
  EXPECT_TRUE(kv_scale_counts_hide_the_rule(shape_of(1, 192, 128)));
  EXPECT_FALSE(kv_scale_counts_hide_the_rule(shape_of(1, 256, 128)));
  EXPECT_FALSE(kv_scale_counts_hide_the_rule(shape_of(4, 192, 128)));
  EXPECT_FALSE(kv_scale_counts_hide_the_rule(shape_of(8, 256, 128)));
}

TEST(KvScale, RulesWithTheSameCountsReadTheSameRowsUnlessSaidOtherwise) {
  for (int32_t heads : {1, 2, 3, 8}) {
    for (int32_t k_dim = 16; k_dim <= 384; k_dim += 16) {
      for (int32_t v_dim = 16; v_dim <= 256; v_dim += 16) {
        const AttentionShape shape = shape_of(heads, k_dim, v_dim);
        const bool same_counts = kv_scale_rows(KvScaleRule::kPlain, shape) ==
                                 kv_scale_rows(KvScaleRule::kJointPerHead, shape);
        if (!same_counts || kv_scale_counts_hide_the_rule(shape)) continue;
        for (int32_t row = 0; row < heads * k_dim; ++row) {
          ASSERT_EQ(k_scale_row(KvScaleRule::kPlain, shape, row),
                    k_scale_row(KvScaleRule::kJointPerHead, shape, row))
              << heads << " " << k_dim << " " << v_dim << " " << row;
        }
      }
    }
  }
}

}  // namespace
}  // namespace mimo::checkpoint
