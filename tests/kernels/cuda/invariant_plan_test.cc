#include "kernels/cuda/product/invariant_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "kernels/cuda/attention/attention_plan.h"
#include "kernels/cuda/product/resident_plan.h"
#include "kernels/cuda/product/stream_plan.h"
#include "kernels/cuda/route/route_plan.h"

// What decides the order of a row's sums is the same for all numbers of rows.
namespace mimo::kernels::cuda {
namespace {

using product::InvariantKernel;
using product::SwapProblem;
using product::SwapRows;

constexpr int32_t kSharedMax = 232448;  // of a block on SM90
constexpr int32_t kSms = 132;

SwapProblem problem(DType dtype, int32_t rows, int32_t cols, SwapRows kind = SwapRows::kPlain,
                    int32_t capability = 90) {
  return {.capability = capability,
          .dtype = dtype,
          .rows = rows,
          .cols = cols,
          .kind = kind,
          .k_dim = 192,
          .half = 32,
          .clusters = {132, 66, 30},
          .shared_bytes_max = kSharedMax,
          .batch_invariant = true};
}

TEST(InvariantPlan, TheModelsWeightsHaveTheirKernels) {
  const auto plan = [](const SwapProblem& p) {
    const product::InvariantPlan out = product::plan_invariant(p, true);
    return std::tuple(out.kernel, out.tokens_max, out.chain_blocks);
  };
  EXPECT_EQ(plan(problem(DType::kF8E4m3, 3712, 4096, SwapRows::kHeads)),
            std::tuple(InvariantKernel::kResident, 64, 0));
  EXPECT_EQ(plan(problem(DType::kBf16, 4096, 2048)), std::tuple(InvariantKernel::kResident, 32, 8));
  EXPECT_EQ(plan(problem(DType::kBf16, 38144, 4096)), std::tuple(InvariantKernel::kSwap, 32, 32));
  EXPECT_EQ(plan(problem(DType::kF8E4m3, 8192, 4096, SwapRows::kGateUp)),
            std::tuple(InvariantKernel::kSwap, 32, 0));
  EXPECT_EQ(plan(problem(DType::kF8E4m3, 8192, 4096, SwapRows::kGateUp, 100)),
            std::tuple(InvariantKernel::kStream, product::kInvariantRowsMax, 0));
}

// By how many column blocks a chain of sums is long, and how many chains there are.
std::tuple<int32_t, int32_t> order_of(const SwapProblem& p, const product::InvariantPlan& plan,
                                      int32_t num_tokens) {
  if (plan.kernel == InvariantKernel::kResident) {
    const auto shape = product::choose_resident(p, num_tokens).value();
    return {product::kResidentBlocks, shape.halves * shape.k_split};
  }
  if (plan.kernel == InvariantKernel::kSwap) {
    const int32_t rows = product::swap_token_rows(num_tokens);
    const auto shape = product::choose_swap(p, rows, 1.0).value();
    return {shape.slice_blocks, shape.k_split};
  }
  const int32_t rows = num_tokens <= 8 ? 8 : num_tokens <= 16 ? 16 : 32;
  const auto shape = product::stream_shape(p.dtype, p.cols, rows, kSharedMax).value();
  return {shape.k_blocks, shape.k_warps};
}

TEST(InvariantPlan, ManyTokensOfAnE4m3WeightAreASlabs) {
  const auto tile = [](const SwapProblem& p) {
    return product::plan_invariant(p, true).slab->tile;
  };
  EXPECT_EQ(tile(problem(DType::kF8E4m3, 3712, 4096, SwapRows::kHeads)),
            (product::SlabTile{.token_rows = 128, .token_tiles = 1, .k_split = 4}));
  EXPECT_EQ(tile(problem(DType::kF8E4m3, 8192, 4096, SwapRows::kGateUp)),
            (product::SlabTile{.token_rows = 64, .token_tiles = 1, .k_split = 2}));
  const SwapProblem plain = problem(DType::kF8E4m3, 3712, 4096);
  EXPECT_FALSE(product::plan_invariant(plain, false).slab.has_value());
}

TEST(InvariantPlan, AWeightsColumnsAreCutAlikeForAllNumbersOfTokens) {
  for (const DType dtype : {DType::kBf16, DType::kF8E4m3}) {
    for (const int32_t cols : {24, 64, 128, 256, 512, 1024, 2048, 4096, 8192}) {
      for (const int32_t rows : {40, 64, 256, 1024, 4096, 8192, 38144}) {
        for (const int32_t capability : {90, 100}) {
          for (const bool quantised : {false, true}) {
            const SwapProblem p = problem(dtype, rows, cols, SwapRows::kPlain, capability);
            const product::InvariantPlan plan = product::plan_invariant(p, quantised);
            SCOPED_TRACE(::testing::Message() << dtype_name(dtype) << " " << rows << " x " << cols
                                              << " on " << capability);
            ASSERT_GT(plan.tokens_max, 0);
            const int32_t most = std::min(plan.tokens_max, product::kInvariantRowsMax);
            for (int32_t n = 2; n <= most; ++n) {
              ASSERT_EQ(order_of(p, plan, n), order_of(p, plan, 1)) << n << " tokens";
            }
            if (plan.slab.has_value()) {
              ASSERT_EQ(std::tuple(plan.slab->slice_blocks, plan.slab->tile.k_split),
                        order_of(p, plan, 1));
            }
            if (plan.chain_blocks == 0) continue;
            ASSERT_EQ(std::get<0>(order_of(p, plan, 1)), plan.chain_blocks);
            ASSERT_EQ(std::get<1>(order_of(p, plan, 1)) * plan.chain_blocks, cols * 2 / 128);
          }
        }
      }
    }
  }
}

TEST(InvariantPlan, ExpertsColumnsAreCutAlikeForAllNumbersOfTokens) {
  const SwapProblem gate_up = problem(DType::kF8E4m3, 1024, 4096, SwapRows::kGateUp);
  const SwapProblem down = problem(DType::kF8E4m3, 4096, 512);
  for (int32_t tokens = 1; tokens <= product::kInvariantRowsMax; ++tokens) {
    const double mean = tokens * 8 / 256.0;
    const int32_t rows = product::invariant_expert_rows(gate_up, down, mean);
    ASSERT_GT(rows, 0);
    const double tiles = product::experts_busy(tokens * 8, 256);
    ASSERT_EQ(product::choose_swap(gate_up, rows, tiles).value().k_split, 2) << tokens;
    ASSERT_EQ(product::choose_swap(down, rows, tiles).value().k_split, 1) << tokens;
  }
  // However many rows an expert gets, there is a tile.
  EXPECT_EQ(product::invariant_expert_rows(gate_up, down, 100.0), 32);
}

TEST(InvariantPlan, ExpertsStreamInDecodeStepsAndAreTiledInOthers) {
  product::ExpertsShape shape = {.gate_up_dtype = DType::kF8E4m3,
                                 .down_dtype = DType::kF8E4m3,
                                 .hidden = 256,
                                 .columns = 128,
                                 .num_experts = 4,
                                 .batch_invariant = true,
                                 .decode = true};
  for (shape.num_pairs = 2; shape.num_pairs <= 512; shape.num_pairs += 30) {
    EXPECT_GT(product::choose_expert_rows(shape, kSharedMax), 0);
  }
  shape.decode = false;
  for (shape.num_pairs = 514; shape.num_pairs <= 5000; shape.num_pairs += 300) {
    EXPECT_EQ(product::choose_expert_rows(shape, kSharedMax), 0);
  }
}

TEST(InvariantPlan, ScoresAreAddedUpAlikeInDecodeStepsAndInOthers) {
  for (const int32_t hidden : {64, 4096}) {
    for (const int32_t experts : {8, 256}) {
      const auto order = [&](int32_t tokens) {
        const auto plan = router::plan_route({tokens, experts, hidden, 1, true}, kSms, kSms);
        return std::tuple(plan.kernel, plan.splits, plan.split_cols);
      };
      for (int32_t tokens = 2; tokens <= router::kSplitTokensMax; ++tokens) {
        ASSERT_EQ(order(tokens), order(1)) << tokens;
      }
      for (int32_t tokens = router::kSplitTokensMax + 2; tokens < 9000; tokens += 61) {
        ASSERT_EQ(order(tokens), order(router::kSplitTokensMax + 1)) << tokens;
        ASSERT_LE(int64_t{std::get<1>(order(tokens))} * tokens * experts,
                  router::route_scores_max(tokens, experts, kSms, true));
      }
    }
  }
}

AttentionParams step(int32_t num_runs, int32_t rows, int32_t window) {
  AttentionParams p;
  p.num_q_heads = 16;
  p.kv.kv_heads = 1;
  p.kv.page_tokens = 64;
  p.kv.stride = 2048;
  p.runs.num_runs = num_runs;
  p.runs.num_tokens = num_runs * rows;
  p.runs.rows_per_run_max = rows;
  p.window = window;
  return p;
}

TEST(InvariantPlan, ASequenceIsCutByItsOwnLength) {
  const DecodeTuning tuning = {.batch_invariant = true};
  for (const int32_t window : {0, 128, 1000}) {
    const DecodePlan one = plan_decode(step(1, 1, window), kSms, tuning);
    for (const int32_t rows : {1, 2, 4, 8, 300}) {
      for (int32_t num_runs = 1; num_runs <= 256; ++num_runs) {
        const DecodePlan plan = plan_decode(step(num_runs, rows, window), kSms, tuning);
        ASSERT_EQ(plan.splits_max, one.splits_max);
        ASSERT_EQ(plan.split_min, one.split_min);
        ASSERT_GE(plan.runs_a_launch, 1);
        if (plan.splits_max == 1) continue;
        const int64_t runs = std::min(num_runs, plan.runs_a_launch);
        ASSERT_LE(runs * plan.tiles * plan.splits_max, decode_partials_max(kSms, tuning));
      }
    }
  }
}

TEST(InvariantPlan, AWindowsRowsAreSummedAlikeWhateverTheLongestRun) {
  for (const int32_t rows : {1, 2, 4, 8, 300}) {
    EXPECT_TRUE(plan_window(step(3, rows, 128), kSms, true).one_chain) << rows;
  }
}

}  // namespace
}  // namespace mimo::kernels::cuda
