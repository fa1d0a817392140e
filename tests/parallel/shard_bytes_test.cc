#include "parallel/shard_bytes.h"

#include <gtest/gtest.h>

#include <vector>

#include "checkpoint/expected_tensors.h"

namespace mimo::parallel {
namespace {

using checkpoint::ModelConfig;
using checkpoint::released_model_config;

RankBytes bytes_at(const ModelConfig& config, int32_t tp, int32_t rank) {
  return rank_bytes(config, plan_shards(config, {.tp = tp}).value(), rank);
}

double gb(int64_t bytes) { return static_cast<double>(bytes) * 1e-9; }

// GB a rank of the released model, from the sizes of its tensors by hand.
struct Row {
  int32_t tp;
  double experts, qkv, o_proj, dense, vocabulary, routers, mtp, sum;
};
constexpr Row kRows[] = {{1, 302.87, 2.873, 3.221, 0.201, 2.500, 0.197, 1.189, 313.05},
                         {2, 151.43, 1.436, 1.611, 0.101, 1.250, 0.197, 0.695, 156.73},
                         {4, 75.72, 0.718, 0.805, 0.050, 0.625, 0.197, 0.448, 78.56},
                         {8, 37.86, 0.365, 0.403, 0.025, 0.312, 0.197, 0.325, 39.49},
                         {16, 18.93, 0.214, 0.201, 0.013, 0.156, 0.197, 0.265, 19.98}};

TEST(RankBytes, TheReleasedModelsPartsAtEveryTp) {
  const ModelConfig config = released_model_config();
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.tp);
    const RankBytes bytes = bytes_at(config, row.tp, row.tp - 1);

    EXPECT_NEAR(gb(bytes.experts), row.experts, 0.0051);
    EXPECT_NEAR(gb(bytes.qkv), row.qkv, 0.0011);
    EXPECT_NEAR(gb(bytes.o_proj), row.o_proj, 0.00051);
    EXPECT_NEAR(gb(bytes.dense_ffn), row.dense, 0.00051);
    EXPECT_NEAR(gb(bytes.embedding + bytes.head), row.vocabulary, 0.00051);
    EXPECT_NEAR(gb(bytes.routers), row.routers, 0.00051);
    EXPECT_NEAR(gb(bytes.mtp), row.mtp, 0.0011);
    EXPECT_NEAR(gb(bytes.total()), row.sum, 0.0081);
  }
}

TEST(RankBytes, OneRankHoldsTheCheckpointAndTheFinerScales) {
  const ModelConfig config = released_model_config();
  const RankBytes bytes = bytes_at(config, 1, 0);
  const int64_t stored = checkpoint::expected_bytes(config, checkpoint::released_form(config));

  // qkv: 32 f32 columns for each 64 rows of 9 layers of 13,568 and 42 of 14,848, where the stored
  // ones are 108 and 116 rows a layer. Norms and sinks: f32 where bf16 is stored.
  const int64_t finer = 128 * (9 * (13'568 / 64 - 108) + 42 * (14'848 / 64 - 116));
  const int64_t norms = 2 * ((48 * 2 + 1 + 3 * 5) * 4096 + 42 * 64);
  EXPECT_EQ(bytes.total(), stored + finer + norms);
  EXPECT_EQ(bytes.experts, 302'869'118'976);
  EXPECT_EQ(bytes.dense_ffn, 201'375'744);
  EXPECT_EQ(bytes.routers, 197'180'416);
}

TEST(RankBytes, RanksSumToTheModelWhereNothingIsReplicated) {
  ModelConfig config = released_model_config();
  config.num_mtp_layers = 0;
  const RankBytes whole = bytes_at(config, 1, 0);
  RankBytes sum;
  for (int32_t rank = 0; rank < 4; ++rank) {
    const RankBytes bytes = bytes_at(config, 4, rank);
    sum.experts += bytes.experts;
    sum.qkv += bytes.qkv;
    sum.o_proj += bytes.o_proj;
    sum.dense_ffn += bytes.dense_ffn;
    sum.embedding += bytes.embedding;
  }

  EXPECT_EQ(sum.experts, whole.experts);
  EXPECT_EQ(sum.qkv, whole.qkv);
  EXPECT_EQ(sum.o_proj, whole.o_proj);
  EXPECT_EQ(sum.dense_ffn, whole.dense_ffn);
  EXPECT_EQ(sum.embedding, whole.embedding);
}

TEST(RankBytes, WholeExpertsAreCountedWhereTheyAre) {
  const ModelConfig config = released_model_config();
  const auto plan = plan_shards(config, {.tp = 8, .experts = ExpertPlacement::kWhole}).value();

  EXPECT_EQ(rank_bytes(config, plan, 3).experts, int64_t{47} * 32 * 25'171'968);
}

TEST(RankBytes, Bf16HasNoScales) {
  ModelConfig config = released_model_config();
  config.quantization.reset();
  const RankBytes bytes = bytes_at(config, 1, 0);

  EXPECT_EQ(bytes.experts, int64_t{302'795'194'368} * 2);
  EXPECT_EQ(bytes.qkv, int64_t{2'872'049'664} * 2);
}

}  // namespace
}  // namespace mimo::parallel
