#include <gtest/gtest.h>

#include "kernels/cuda/product/swap_plan.h"

namespace mimo::kernels::cuda::product {
namespace {

constexpr int32_t kSharedMax = 232448;  // of a block on SM90

SwapProblem problem(DType dtype, int32_t rows, int32_t cols, SwapRows kind = SwapRows::kPlain) {
  return {.capability = 90,
          .dtype = dtype,
          .rows = rows,
          .cols = cols,
          .kind = kind,
          .k_dim = 192,
          .half = 32,
          .clusters = {132, 66, 32},
          .shared_bytes_max = kSharedMax};
}

TEST(SwapShape, PartsLieApartAndFitABlock) {
  for (const DType dtype : {DType::kBf16, DType::kF8E4m3}) {
    for (const int32_t cols : {16, 96, 512, 2048, 4096, 8192}) {
      for (const int32_t rows : {8, 16, 32, 64}) {
        for (const int32_t k_split : {1, 2, 4}) {
          const auto shape = swap_shape(dtype, cols, rows, k_split, kSharedMax);
          if (!shape.has_value()) continue;
          SCOPED_TRACE(::testing::Message()
                       << dtype_name(dtype) << " " << cols << " " << rows << " " << k_split);

          EXPECT_GE(shape->stages, kSwapStagesMin);
          EXPECT_GE(int64_t{shape->slice_blocks} * k_split, shape->k_blocks);
          EXPECT_EQ(shape->tokens_at, shape->stages * kSwapStageBytes);
          EXPECT_EQ(shape->tokens_at % 1024, 0);
          EXPECT_GE(shape->token_scales_at, shape->tokens_at + shape->slice_blocks * rows * 128);
          EXPECT_GE(shape->places_at - shape->sums_at, k_split > 1 ? 2 * kSwapRows * rows * 4 : 0);
          EXPECT_GE(shape->shared_bytes - shape->barriers_at, 16 * shape->stages + 16 + 1023);
          EXPECT_LE(shape->shared_bytes, kSharedMax);
          for (const int32_t at :
               {shape->token_scales_at, shape->sums_at, shape->places_at, shape->barriers_at}) {
            EXPECT_EQ(at % 16, 0);
          }
        }
      }
    }
  }
}

TEST(SwapShape, RefusesWhatHasNoRoom) {
  EXPECT_FALSE(swap_shape(DType::kF8E4m3, 4096, 64, 1, kSharedMax).has_value());
  EXPECT_FALSE(swap_shape(DType::kF8E4m3, 8192, 8, 1, kSharedMax).has_value());
  EXPECT_FALSE(swap_shape(DType::kF8E4m3, 128, 8, 2, kSharedMax).has_value());
}

TEST(ChooseSwap, AClusterSharesTheColumnsWhereRowsAreFew) {
  const auto split = [](const SwapProblem& p, int32_t token_rows, double tiles) {
    return choose_swap(p, token_rows, tiles).value().k_split;
  };
  const SwapProblem qkv = problem(DType::kF8E4m3, 3712, 4096, SwapRows::kHeads);
  const SwapProblem gate_up = problem(DType::kF8E4m3, 1024, 4096, SwapRows::kGateUp);
  const SwapProblem down = problem(DType::kF8E4m3, 4096, 512);

  EXPECT_EQ(split(qkv, 8, 1), 4);
  EXPECT_EQ(split(qkv, 64, 1), 4);
  EXPECT_EQ(split(problem(DType::kBf16, 4096, 2048), 32, 1), 4);
  EXPECT_EQ(split(gate_up, 8, experts_busy(8, 256)), 2);
  EXPECT_EQ(split(gate_up, 16, experts_busy(2048, 256)), 1);
  EXPECT_EQ(split(down, 16, experts_busy(2048, 256)), 1);
}

TEST(ChooseSwap, SaysWhy) {
  SwapProblem p = problem(DType::kF8E4m3, 3712, 4096, SwapRows::kHeads);
  EXPECT_EQ(swap_refusal(p), nullptr);
  p.capability = 100;
  EXPECT_STREQ(swap_refusal(p), "swap: needs compute capability 9.0");
  EXPECT_FALSE(choose_swap(p, 8, 1).has_value());
  p = problem(DType::kF8E4m3, 3712, 4096, SwapRows::kHeads);
  p.half = 8;
  EXPECT_STREQ(swap_refusal(p),
               "swap: heads are no multiples of 64 rows, or not 64 of them are rotated");
  EXPECT_NE(swap_refusal(problem(DType::kF8E4m3, 128, 24)), nullptr);
  EXPECT_NE(swap_refusal(problem(DType::kF8E4m3, 136, 32)), nullptr);
}

TEST(SharedHalf, TwoBlocksFitAnSm) {
  constexpr int32_t kSm = 233472;
  EXPECT_LE(2 * (shared_half(kSharedMax) + 1024), kSm);
  SwapProblem p = problem(DType::kF8E4m3, 1024, 4096, SwapRows::kGateUp);
  p.shared_bytes_max = shared_half(kSharedMax);
  EXPECT_GE(choose_swap(p, 8, experts_busy(8, 256))->stages, 5);
  p = problem(DType::kF8E4m3, 4096, 512);
  p.shared_bytes_max = shared_half(kSharedMax);
  EXPECT_GE(choose_swap(p, 8, experts_busy(8, 256))->stages, 6);
}

TEST(NearlyAllBusy, FromSomeThreePairsAMatrix) {
  EXPECT_FALSE(nearly_all_busy(experts_busy(128, 256), 256));
  EXPECT_FALSE(nearly_all_busy(experts_busy(512, 256), 256));
  EXPECT_TRUE(nearly_all_busy(experts_busy(1024, 256), 256));
  EXPECT_TRUE(nearly_all_busy(experts_busy(2048, 256), 256));
}

TEST(SwapExpertRows, RoomForMoreThanTheMean) {
  EXPECT_EQ(swap_expert_rows(8 / 256.0), 8);
  EXPECT_EQ(swap_expert_rows(2), 8);
  EXPECT_EQ(swap_expert_rows(4), 16);
  EXPECT_EQ(swap_expert_rows(8), 16);
  EXPECT_EQ(swap_expert_rows(16), 32);
  EXPECT_EQ(swap_expert_rows(32), 64);
  EXPECT_EQ(swap_expert_rows(64), 0);
  EXPECT_EQ(swap_token_rows(65), 0);
}

}  // namespace
}  // namespace mimo::kernels::cuda::product
