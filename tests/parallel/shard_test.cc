#include "parallel/shard.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "parallel/shard_bytes.h"

namespace mimo::parallel {
namespace {

using checkpoint::AttentionKind;
using checkpoint::AttentionShape;
using checkpoint::ModelConfig;
using checkpoint::released_model_config;

ShardPlan plan_of(const ModelConfig& config, int32_t tp) {
  return plan_shards(config, {.tp = tp}).value();
}

std::string refusal(const ModelConfig& config, const ShardOptions& options) {
  const auto plan = plan_shards(config, options);
  return plan.ok() ? "accepted" : plan.error().message;
}

TEST(Shard, TheReleasedModelIsCutPlainlyUpToFourRanks) {
  const ModelConfig config = released_model_config();
  for (const int32_t tp : {1, 2, 4}) {
    const ShardPlan plan = plan_of(config, tp);

    EXPECT_EQ(plan.experts, ExpertPlacement::kColumns);
    EXPECT_FALSE(plan.dense_replicated);
    EXPECT_EQ(plan.full_kv_replicas, 1);
    EXPECT_TRUE(plan.notes.empty());
  }
}

TEST(Shard, KvHeadsFewerThanRanksAreReplicated) {
  const ModelConfig config = released_model_config();
  const ShardPlan plan = plan_of(config, 16);

  EXPECT_EQ(plan.full_kv_replicas, 4);
  EXPECT_EQ(plan.window_kv_replicas, 2);
  for (int32_t rank = 0; rank < 16; ++rank) {
    const RankShard shard = rank_shard(config, plan, rank);
    EXPECT_EQ(shard.full.kv_heads, (Range{rank / 4, rank / 4 + 1}));
    EXPECT_EQ(shard.window.kv_heads, (Range{rank / 2, rank / 2 + 1}));
    EXPECT_EQ(shard.expert_cols, (Range{rank * 128, rank * 128 + 128}));
  }
}

TEST(Shard, EveryPartIsHeldOnceAndEachQueryHeadWithItsKvHead) {
  const ModelConfig config = released_model_config();
  for (const int32_t tp : {1, 2, 4, 8, 16}) {
    const ShardPlan plan = plan_of(config, tp);
    Range end{0, 0};
    for (int32_t rank = 0; rank < tp; ++rank) {
      const RankShard shard = rank_shard(config, plan, rank);
      for (const AttentionKind kind : {AttentionKind::kFull, AttentionKind::kWindow}) {
        const AttentionShape& shape = config.attention_shape(kind);
        const AttentionShard& heads = shard.attention(kind);
        const int32_t group = shape.num_q_heads / shape.num_kv_heads;
        EXPECT_EQ(heads.q_heads.size(), shape.num_q_heads / tp);
        for (int32_t q = heads.q_heads.begin; q < heads.q_heads.end; ++q) {
          EXPECT_TRUE(heads.kv_heads.contains(q / group)) << tp << " " << rank << " " << q;
        }
        // Within the rank, grouped heads still line up.
        EXPECT_EQ(heads.q_heads.size() % heads.kv_heads.size(), 0);
      }
      EXPECT_EQ(shard.vocab_rows.begin, end.begin);
      EXPECT_EQ(shard.dense_cols.begin, end.end);
      end = {shard.vocab_rows.end, shard.dense_cols.end};
    }
    EXPECT_GE(end.begin, config.vocab);
    EXPECT_EQ(end.end, config.dense_intermediate);
  }
}

TEST(Shard, HeadsThatDoNotFitAreRefusedWithTheNumbers) {
  ModelConfig config = released_model_config();
  EXPECT_EQ(refusal(config, {.tp = 0}), "tp = 0, expected 1 to 4096");
  EXPECT_EQ(refusal(config, {.tp = 3}),
            "tp = 3 does not divide the 64 query heads of full attention");
  config.full.num_q_heads = 12;
  config.full.num_kv_heads = 3;
  EXPECT_EQ(refusal(config, {.tp = 4}),
            "tp = 4 neither divides nor is a multiple of the 3 kv heads of full attention");
  config.full = released_model_config().full;
  config.window.num_kv_heads = 64;
  EXPECT_EQ(refusal(config, {.tp = 128}),
            "tp = 128 does not divide the 64 query heads of full attention");
}

TEST(Shard, BrokenFp8BlocksPutExpertsWholeAndReplicateTheDenseFfn) {
  ModelConfig config = released_model_config();
  config.moe_intermediate = 256;
  config.dense_intermediate = 640;
  config.num_experts = 12;

  const ShardPlan plan = plan_of(config, 4);

  EXPECT_EQ(plan.experts, ExpertPlacement::kWhole);
  EXPECT_TRUE(plan.dense_replicated);
  ASSERT_EQ(plan.notes.size(), 2u);
  EXPECT_EQ(plan.notes[0],
            "Experts are placed whole: 256 (moe_intermediate_size) columns over 4 ranks are 64 "
            "each, not whole 128-blocks of FP8.");
  EXPECT_EQ(plan.notes[1],
            "Every rank holds the whole dense FFN: 640 (intermediate_size) columns over 4 ranks "
            "are 160 each, not whole 128-blocks of FP8.");
  const RankShard shard = rank_shard(config, plan, 1);
  EXPECT_EQ(shard.experts, (Range{3, 6}));
  EXPECT_EQ(shard.expert_cols, (Range{0, 256}));
  EXPECT_EQ(shard.dense_cols, (Range{0, 640}));
  EXPECT_EQ(refusal(config, {.tp = 4, .experts = ExpertPlacement::kColumns}),
            "experts by columns: 256 (moe_intermediate_size) columns over 4 ranks are 64 each, not "
            "whole 128-blocks of FP8");
}

TEST(Shard, Bf16NeedsOnlyEqualColumns) {
  ModelConfig config = released_model_config();
  config.quantization.reset();
  config.moe_intermediate = 48;
  config.dense_intermediate = 160;
  EXPECT_EQ(plan_of(config, 4).experts, ExpertPlacement::kColumns);
  EXPECT_FALSE(plan_of(config, 4).dense_replicated);

  config.moe_intermediate = 50;
  config.dense_intermediate = 162;
  const ShardPlan plan = plan_of(config, 4);

  EXPECT_EQ(plan.experts, ExpertPlacement::kWhole);
  EXPECT_TRUE(plan.dense_replicated);
  EXPECT_NE(plan.notes[0].find("not whole columns"), std::string::npos);
}

TEST(Shard, WholeExpertsAreSpreadEvenly) {
  ModelConfig config = released_model_config();
  config.num_experts = 10;
  const auto plan = plan_shards(config, {.tp = 4, .experts = ExpertPlacement::kWhole}).value();

  EXPECT_EQ(rank_shard(config, plan, 0).experts, (Range{0, 3}));
  EXPECT_EQ(rank_shard(config, plan, 1).experts, (Range{3, 6}));
  EXPECT_EQ(rank_shard(config, plan, 2).experts, (Range{6, 8}));
  EXPECT_EQ(rank_shard(config, plan, 3).experts, (Range{8, 10}));
  EXPECT_EQ(plan.notes.back(), "10 whole experts over 4 ranks: some ranks hold 3, others 2.");
}

TEST(Shard, VocabularyRowsArePaddedUp) {
  ModelConfig config = released_model_config();
  config.vocab = 211;
  const ShardPlan plan = plan_of(config, 4);

  EXPECT_EQ(plan.vocab_rows, 53);
  EXPECT_EQ(rank_shard(config, plan, 3).vocab_rows, (Range{159, 212}));
  EXPECT_EQ(plan.notes[0], "The vocabulary's 211 rows are padded to 212.");
}

// --- Scales: every element of every rank's fused matrix, against the stored rows --------------

struct ScaleCase {
  const char* name;
  AttentionShape shape;
  KvScaleRule rule;
  int32_t rows_per_scale;
};

std::vector<float> random_scales(std::mt19937& rng, int64_t count) {
  std::vector<float> out(count);
  for (float& scale : out) scale = std::uniform_real_distribution<float>(0.5f, 2.0f)(rng);
  return out;
}

// A weight's scale at [row, col] by the checkpoint's own layout, told apart by its fused joint
// blocks of [K_g | V_g] rows, not by the functions under test.
struct Stored {
  std::vector<float> q, k, v;
  int32_t num_cols;

  float of_q(int32_t row, int32_t col) const { return q[row / 128 * num_cols + col]; }
  float of_kv(const ScaleCase& c, bool is_v, int32_t head, int32_t row, int32_t col) const {
    const AttentionShape& s = c.shape;
    if (c.rule == KvScaleRule::kPlain) {
      const int32_t width = is_v ? s.v_dim : s.k_dim;
      return (is_v ? v : k)[(head * width + row) / 128 * num_cols + col];
    }
    const int32_t k_rows = (s.k_dim + 127) / 128;
    const int32_t v_rows = (s.k_dim + s.v_dim + 127) / 128 - k_rows;
    const int32_t block = (is_v ? s.k_dim + row : row) / 128;
    if (block < k_rows) return k[(head * k_rows + block) * num_cols + col];
    return v[(head * v_rows + block - k_rows) * num_cols + col];
  }
};

void expect_exact(const ScaleCase& c, const Stored& stored, const AttentionShard& shard) {
  const ExpandedScales got =
      expand_qkv_scales(c.shape, c.rule, {stored.q, stored.k, stored.v, stored.num_cols}, shard);
  ASSERT_EQ(got.rows_per_scale, c.rows_per_scale);
  ASSERT_EQ(got.num_cols, stored.num_cols);
  int32_t fused_row = 0;
  const auto at = [&](int32_t col) {
    return got.values[fused_row / got.rows_per_scale * got.num_cols + col];
  };
  for (int32_t col = 0; col < stored.num_cols; ++col) {
    fused_row = 0;
    for (int32_t h = shard.q_heads.begin; h < shard.q_heads.end; ++h) {
      for (int32_t r = 0; r < c.shape.k_dim; ++r, ++fused_row) {
        ASSERT_EQ(at(col), stored.of_q(h * c.shape.k_dim + r, col)) << h << " " << r;
      }
    }
    for (const bool is_v : {false, true}) {
      const int32_t width = is_v ? c.shape.v_dim : c.shape.k_dim;
      for (int32_t h = shard.kv_heads.begin; h < shard.kv_heads.end; ++h) {
        for (int32_t r = 0; r < width; ++r, ++fused_row) {
          ASSERT_EQ(at(col), stored.of_kv(c, is_v, h, r, col)) << is_v << " " << h << " " << r;
        }
      }
    }
  }
  EXPECT_EQ(
      static_cast<size_t>((fused_row + got.rows_per_scale - 1) / got.rows_per_scale * got.num_cols),
      got.values.size());
}

TEST(Shard, QkvScalesAreExactAtEveryTp) {
  const auto joint = KvScaleRule::kJointPerHead;
  const auto plain = KvScaleRule::kPlain;
  const ScaleCase cases[] = {{"released full", {64, 4, 192, 128}, joint, 64},
                             {"released window", {64, 8, 192, 128}, plain, 64},
                             {"tiny full", {4, 2, 192, 128}, joint, 64},
                             {"tiny window", {4, 4, 192, 128}, plain, 64},
                             {"no V rows", {16, 4, 192, 64}, joint, 64},
                             {"narrow", {12, 3, 24, 40}, plain, 8},
                             {"narrow, joint", {12, 3, 24, 40}, joint, 8},
                             {"odd", {6, 2, 50, 33}, plain, 1},
                             {"odd, joint", {6, 2, 150, 133}, joint, 1},
                             {"one head", {16, 1, 192, 128}, plain, 64}};
  std::mt19937 rng(20260101);
  for (const ScaleCase& c : cases) {
    SCOPED_TRACE(c.name);
    const auto rows = checkpoint::kv_scale_rows(c.rule, c.shape);
    const int32_t num_cols = 3;
    const int64_t q_rows = (c.shape.num_q_heads * c.shape.k_dim + 127) / 128;
    const Stored stored{random_scales(rng, q_rows * num_cols),
                        random_scales(rng, rows.k * num_cols),
                        random_scales(rng, rows.v * num_cols), num_cols};
    ModelConfig config = released_model_config();
    config.full = c.shape;
    config.window = c.shape;
    int32_t num_cuts = 0;
    for (int32_t tp = 1; tp <= 16; ++tp) {
      const auto plan = plan_shards(config, {.tp = tp});
      if (!plan.ok()) continue;
      ++num_cuts;
      for (int32_t rank = 0; rank < tp; ++rank) {
        expect_exact(c, stored, rank_shard(config, plan.value(), rank).full);
      }
    }
    EXPECT_GE(num_cuts, 3);
  }
}

TEST(Shard, GateUpScalesFollowTheirRows) {
  const std::vector<float> gate = {1, 2, 3, 4};  // [4, 1]: 512 columns
  const std::vector<float> up = {5, 6, 7, 8};

  const ExpandedScales cut = expand_gate_up_scales(gate, up, 1, {128, 384});
  EXPECT_EQ(cut.rows_per_scale, 128);
  EXPECT_EQ(cut.values, (std::vector<float>{2, 3, 6, 7}));

  // 160 columns in two blocks of 128 and 32: up begins inside a block of the fused matrix.
  const ExpandedScales uneven =
      expand_gate_up_scales({gate.data(), 2}, {up.data(), 2}, 1, {0, 160});
  EXPECT_EQ(uneven.rows_per_scale, 32);
  EXPECT_EQ(uneven.values, (std::vector<float>{1, 1, 1, 1, 2, 5, 5, 5, 5, 6}));
}

}  // namespace
}  // namespace mimo::parallel
