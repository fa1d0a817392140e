#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "kernels/cuda/route/route_plan.h"
#include "kernels/cuda/route/weight_parts.h"

namespace mimo::kernels::cuda::router {
namespace {

double bf16_value(uint32_t half) {
  const uint32_t bits = half << 16;
  float out = 0;
  memcpy(&out, &bits, sizeof(out));
  return out;
}

struct Sums {
  double low = 0;
  double high = 0;
};
Sums sum_of_parts(float low, float high) {
  uint32_t parts[kWeightParts];
  split_pair(low, high, parts);
  Sums out;
  for (const uint32_t part : parts) {
    out.low += bf16_value(part & 0xffff);
    out.high += bf16_value(part >> 16);
  }
  return out;
}

TEST(WeightParts, AddUpToTheFloatExactly) {
  std::mt19937 generator(1);
  std::uniform_int_distribution<uint32_t> bits(0, 0xffffffffu);
  for (int32_t i = 0; i < 2'000'000; ++i) {
    float pair[2];
    for (float& x : pair) {
      const uint32_t word = bits(generator);
      memcpy(&x, &word, sizeof(x));
      // Below 2^-110 the last part may fall under bf16's least subnormal.
      if (!std::isfinite(x) || std::abs(x) < 0x1p-110f) x = 1.0f;
    }
    const Sums sums = sum_of_parts(pair[0], pair[1]);
    ASSERT_EQ(sums.low, double{pair[0]});
    ASSERT_EQ(sums.high, double{pair[1]});
  }
}

TEST(WeightParts, OfTheLeastFloatsLoseLessThanBf16sLeast) {
  for (const float x : {0.0f, -0.0f, 0x1p-149f, 0x1.fffffep-127f, 0x1.fffffep-120f,
                        -0x1.234566p-130f, 0x1.fffffep-111f}) {
    const Sums sums = sum_of_parts(x, -x);
    EXPECT_LT(std::abs(sums.low - double{x}), 0x1p-133) << x;
    EXPECT_EQ(sums.high, -sums.low) << x;
  }
}

TEST(RoutePlan, CutsColumnsOverTheWholeDevice) {
  for (const int32_t tokens : {1, 4, 5, 8, 9, 16, 17, 64, 65, 256, 257, 512, 1000, 8192, 40000}) {
    for (const int32_t experts : {1, 16, 255, 256, 1024}) {
      for (const int32_t hidden : {8, 64, 1032, 4096, 8200}) {
        const RoutePlan plan = plan_route({tokens, experts, hidden}, 132, 132);
        EXPECT_GE(plan.splits * plan.split_cols, hidden);
        EXPECT_LT((plan.splits - 1) * plan.split_cols, hidden) << "an empty split";
        if (plan.splits > 1) {
          EXPECT_EQ(plan.split_cols % kChunkCols, 0);
        }
        if (plan.kernel == RouteKernel::kTiles) {
          EXPECT_LE(int64_t{plan.splits} * tokens * experts,
                    route_scores_max(tokens, experts, 132));
          continue;
        }
        EXPECT_GE(plan.score_pitch, experts);
        if (plan.kernel == RouteKernel::kCluster) {
          EXPECT_LE(plan.boxes, kClusterBoxesMax);
          EXPECT_GE(plan.boxes * kClusterBlocks, plan.splits);
          EXPECT_EQ(plan.num_blocks % kClusterBlocks, 0);
        } else {
          EXPECT_LE(plan.splits, kSplitsMax);
          EXPECT_EQ(plan.boxes, plan.splits);
        }
        EXPECT_LE(int64_t{plan.boxes} * tokens * plan.score_pitch,
                  route_box_words_max(tokens, experts));
      }
    }
  }
}

// Those that wait must all find a place, and none before the last may be the one that plans.
TEST(RoutePlan, TheLastBlocksFinish) {
  for (const int32_t num_sms : {1, 8, 132}) {
    for (int32_t tokens = 1; tokens <= kSplitTokensMax; ++tokens) {
      for (const int32_t experts : {1, 16, 255, 256, 1024}) {
        const RoutePlan plan = plan_route({tokens, experts, 4096}, num_sms, num_sms);
        SCOPED_TRACE(::testing::Message() << tokens << " tokens, " << experts << " experts, "
                                          << num_sms << " multiprocessors");
        const int32_t num_waiting = plan.num_blocks - plan.first_finisher;
        ASSERT_GE(plan.first_finisher, 0);
        ASSERT_GE(plan.num_finishers, 1);
        ASSERT_LE(plan.num_finishers, tokens);
        ASSERT_LE(num_waiting, num_sms);
        const int32_t apart = num_waiting - plan.num_finishers;
        ASSERT_TRUE(apart == 0 || apart == 1) << apart;
        const bool is_full = plan.num_finishers == std::min(plan.num_blocks, num_sms);
        ASSERT_EQ(apart == 0, tokens == 1 || is_full);
      }
    }
  }
}

TEST(RoutePlan, GoesByTheTokens) {
  const auto kernel = [](int32_t tokens) {
    return plan_route({tokens, 256, 4096}, 132, 132).kernel;
  };
  EXPECT_EQ(kernel(1), RouteKernel::kFew);
  EXPECT_EQ(kernel(4), RouteKernel::kFew);
  EXPECT_EQ(kernel(5), RouteKernel::kSplit);
  EXPECT_EQ(kernel(32), RouteKernel::kSplit);
  EXPECT_EQ(kernel(33), RouteKernel::kCluster);
  EXPECT_EQ(kernel(256), RouteKernel::kCluster);
  EXPECT_EQ(kernel(257), RouteKernel::kTiles);
  EXPECT_EQ(plan_route({128, 256, 4096, 8}, 132, 132).kernel, RouteKernel::kSplit);
  EXPECT_EQ(plan_route({128, 257, 4096}, 132, 132).kernel, RouteKernel::kSplit);
  EXPECT_EQ(plan_route({128, 256, 4104}, 132, 132).kernel, RouteKernel::kSplit);
  EXPECT_EQ(plan_route({128, 256, 4096}, 132, 120).kernel, RouteKernel::kSplit);
  for (const int32_t tokens : {1, 4, 8, 16, 32, 128, 256}) {
    EXPECT_EQ(plan_route({tokens, 256, 4096}, 132, 132).num_blocks, 128) << tokens;
  }
  EXPECT_EQ(plan_route({512, 256, 4096}, 132, 132).splits, 16);
  EXPECT_EQ(plan_route({8192, 256, 4096}, 132, 132).splits, 1);
}

TEST(RoutePlan, AsksForExpertsWhereMostWillBeChosen) {
  const auto bytes = [](int32_t tokens, RouteKernel kernel, int64_t expert_bytes) {
    return asked_expert_bytes({tokens, 256, 4096}, kernel, 8, expert_bytes);
  };
  EXPECT_EQ(bytes(50, RouteKernel::kCluster, 4 << 20), 0u);
  EXPECT_EQ(bytes(51, RouteKernel::kCluster, 4 << 20), 128u << 10);
  EXPECT_EQ(bytes(256, RouteKernel::kSplit, 4 << 20), 128u << 10);
  EXPECT_EQ(bytes(256, RouteKernel::kTiles, 4 << 20), 0u) << "their products wait for no memory";
  EXPECT_EQ(bytes(256, RouteKernel::kCluster, 4103), 4096u) << "pieces of 16";
  EXPECT_EQ(asked_expert_bytes({4, 8, 64}, RouteKernel::kSplit, 8, 4 << 20), 128u << 10);
}

}  // namespace
}  // namespace mimo::kernels::cuda::router
