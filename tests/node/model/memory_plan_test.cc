#include "node/model/memory_plan.h"

#include <gtest/gtest.h>

#include "harness.h"
#include "parallel/shard_bytes.h"

namespace mimo::node::model_test {
namespace {

using kvcache::KvKind;
constexpr int64_t kGiB = int64_t{1} << 30;
constexpr auto kFull = static_cast<size_t>(KvKind::kFull);
constexpr auto kWindow = static_cast<size_t>(KvKind::kWindow);

MemoryOptions released_options() {
  MemoryOptions options;
  options.limits.tokens_max = 2048;
  options.limits.sequences_max = 256;
  options.limits.logits_rows_max = 256;
  options.limits.prefill_chunk_max = 512;
  options.limits.positions_max = 65536;
  options.limits.page_tokens = 64;
  options.kv_budget_bytes = 40 * kGiB;
  return options;
}

parallel::ShardPlan shards(const checkpoint::ModelConfig& config, int32_t tp) {
  return parallel::plan_shards(config, {.tp = tp, .experts = std::nullopt}).value();
}

TEST(MemoryPlan, ReleasedModelAtFourRanks) {
  const checkpoint::ModelConfig config = checkpoint::released_model_config();

  const MemoryPlan plan = plan_memory(config, shards(config, 4), released_options()).value();

  // A quarter of 311.9 GB, and what every rank holds whole: routers and norms.
  EXPECT_NEAR(static_cast<double>(plan.weight_bytes), 311.86e9 / 4 + 0.75 * 197e6, 20e6);
  // Full: 9 layers of one head, window: 39 of two; 192 K and 128 V columns of bf16.
  EXPECT_EQ(plan.specs[kFull].k_bytes_per_page(), 9 * 64 * 192 * 2);
  EXPECT_EQ(plan.specs[kFull].v_bytes_per_page(), 9 * 64 * 128 * 2);
  EXPECT_EQ(plan.specs[kWindow].k_bytes_per_page(), 39 * 2 * 64 * 192 * 2);
  // A resting sequence's window of 128 touches 3 pages; 2048 rows cross into 256 + 32 more.
  EXPECT_EQ(plan.num_pages[kWindow], 256 * 3 + 256 + 32);
  EXPECT_EQ(plan.k_bytes + plan.v_bytes,
            plan.num_pages[kFull] * plan.specs[kFull].bytes_per_page() +
                plan.num_pages[kWindow] * plan.specs[kWindow].bytes_per_page());
  EXPECT_LE(plan.k_bytes + plan.v_bytes, 40 * kGiB);
  EXPECT_GT(plan.k_bytes + plan.v_bytes, 40 * kGiB - plan.specs[kFull].bytes_per_page());
  EXPECT_EQ(plan.k_bytes * 2, plan.v_bytes * 3);
  EXPECT_EQ(plan.longest_sequences[kFull], plan.num_pages[kFull] / 1024);
}

TEST(MemoryPlan, IsPrintedOneLineAPurpose) {
  const checkpoint::ModelConfig config = checkpoint::released_model_config();

  const std::string text =
      to_string(plan_memory(config, shards(config, 8), released_options()).value());

  for (const char* word : {"weights", "workspace", "k full", "v full", "k window", "v window"}) {
    EXPECT_NE(text.find(word), std::string::npos) << text;
  }
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 7) << text;
}

TEST(MemoryPlan, SmallBudgetLeavesTheWindowAtMostHalf) {
  const checkpoint::ModelConfig config = checkpoint::released_model_config();
  MemoryOptions options = released_options();
  options.kv_budget_bytes = 1 * kGiB;

  const MemoryPlan plan = plan_memory(config, shards(config, 4), options).value();

  EXPECT_LE(plan.num_pages[kWindow] * plan.specs[kWindow].bytes_per_page(), kGiB / 2);
  EXPECT_GT(plan.num_pages[kFull] * plan.specs[kFull].bytes_per_page(), kGiB / 2 - 10'000'000);
}

TEST(MemoryPlan, PoolsAreNoLargerThanAllSequencesNeed) {
  const checkpoint::ModelConfig config = checkpoint::released_model_config();
  MemoryOptions options = released_options();
  options.limits.sequences_max = 4;
  options.limits.positions_max = 4096;

  const MemoryPlan plan = plan_memory(config, shards(config, 4), options).value();

  EXPECT_EQ(plan.num_pages[kFull], 4 * 64);
  // Chunks of 512: rows 0 to 511 and the 127 before them touch 11 pages.
  EXPECT_EQ(plan.num_pages[kWindow], 4 * 11);
}

TEST(MemoryPlan, BudgetWithoutRoomForOneSequenceIsRefusedWithTheFigures) {
  const checkpoint::ModelConfig config = checkpoint::released_model_config();
  MemoryOptions options = released_options();
  options.kv_budget_bytes = 1'000'000;

  const auto refused = plan_memory(config, shards(config, 4), options);

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("500000"), std::string::npos) << refused.error().message;
}

TEST(MemoryPlan, LimitsOutOfBoundsAreNamed) {
  const checkpoint::ModelConfig config = checkpoint::released_model_config();
  MemoryOptions options = released_options();
  options.limits.positions_max = 300'000;

  const auto refused = plan_memory(config, shards(config, 4), options);

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("positions_max is 300000"), std::string::npos);
}

// The most pages that a walk over all chunk sizes and page phases ever holds.
TEST(PagesPerSequence, IsTheTrueWorstCase) {
  for (const int32_t window : {16, 127, 128, 129}) {
    for (const int32_t chunk : {1, 2, 63, 64, 65, 200}) {
      kvcache::KvSpec spec;
      spec.kind = KvKind::kWindow;
      spec.window = window;
      spec.page_tokens = 64;
      int32_t most = 0;
      for (int32_t begin = 0; begin < 1000; ++begin) {
        const int32_t held = spec.pages_for(begin + chunk) - spec.first_live_page(begin);
        most = std::max(most, held);
      }
      EXPECT_EQ(pages_per_sequence(spec, chunk, 5000), most) << window << " " << chunk;
    }
  }
}

// What is foretold is what a loaded rank holds.
TEST(MemoryPlan, AgreesWithLoadedRanks) {
  for (const char* name : {"bf16-small-window", "fp8-real-heads", "tiny"}) {
    for (const int32_t tp : {1, 2, 4}) {
      ClusterOptions options{.tp = tp, .limits = test_limits(16)};
      auto cluster = Cluster::create(checkpoint_folder(name), options).value();
      const checkpoint::ModelConfig& config = cluster->config();
      const parallel::ShardPlan plan = shards(config, tp);
      const parallel::RankShard shard = parallel::rank_shard(config, plan, 0);
      auto bare = kernels::make_cpu_ops({.mode = kernels::CpuMode::kF32, .num_threads = 1}).value();
      ASSERT_TRUE(bare->prepare(ops_limits(config, plan, shard, options.limits)).ok());
      const auto workspace = static_cast<size_t>(kernels::Purpose::kWorkspace);

      EXPECT_EQ(cluster->model(0).loaded_bytes(), resident_weight_bytes(config, plan, 0)) << name;
      EXPECT_EQ(cluster->rank(0).memory().by_purpose[workspace],
                bare->bytes_by_purpose()[workspace] +
                    step_buffer_sizes(config, plan, shard, options.limits, DType::kF32).total());
    }
  }
}

}  // namespace
}  // namespace mimo::node::model_test
