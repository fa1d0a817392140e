#include <gtest/gtest.h>

#include "kernels/cuda/product/stream_plan.h"

namespace mimo::kernels::cuda::product {
namespace {

constexpr int32_t kSharedMax = 232448;  // of a block on SM90

TEST(StreamShape, PartsLieApartAndFitABlock) {
  for (const DType dtype : {DType::kBf16, DType::kF8E4m3}) {
    for (const int32_t cols : {1, 8, 24, 96, 128, 480, 512, 2048, 4096, 8192}) {
      for (const int32_t rows : {8, 16, 32}) {
        const auto shape = stream_shape(dtype, cols, rows, kSharedMax);
        ASSERT_TRUE(shape.has_value()) << dtype_name(dtype) << " " << cols << " " << rows;

        EXPECT_LE(shape->token_rows, rows);
        EXPECT_GE(int64_t{shape->k_blocks} * kColumnBlockBytes, cols * dtype_bytes(dtype));
        EXPECT_LT(int64_t{shape->k_blocks - 1} * kColumnBlockBytes, cols * dtype_bytes(dtype));
        EXPECT_LE(shape->k_warps, shape->k_blocks);
        EXPECT_EQ(kStreamWarps % shape->k_warps, 0);
        EXPECT_EQ(shape->token_pitch % 128, 64);
        const int32_t ring = kStreamWarps * stream_stages(dtype, shape->token_rows) * kStreamRows *
                             kColumnBlockBytes;
        EXPECT_GE(shape->ring_scales_at, ring);
        EXPECT_GE(shape->tokens_at, shape->ring_scales_at);
        EXPECT_GE(shape->token_scales_at,
                  shape->tokens_at + shape->token_rows * shape->token_pitch);
        EXPECT_GE(shape->sums_at, shape->token_scales_at);
        EXPECT_GE(shape->places_at, shape->sums_at);
        EXPECT_GE(shape->shared_bytes, shape->places_at + 8 * shape->token_rows);
        EXPECT_LE(shape->shared_bytes, kSharedMax);
        EXPECT_LE((shape->shared_bytes + 1024) * shape->blocks_per_sm, kSharedMax + 1024);
        for (const int32_t at :
             {shape->tokens_at, shape->token_scales_at, shape->sums_at, shape->places_at}) {
          EXPECT_EQ(at % 16, 0);
        }
      }
    }
  }
}

TEST(StreamShape, TheModelsProductsShareARowAmongAllWarps) {
  const auto qkv = stream_shape(DType::kF8E4m3, 4096, 8, kSharedMax).value();
  EXPECT_EQ(qkv.k_warps, 8);
  EXPECT_EQ(qkv.blocks_per_sm, 2);
  const auto output = stream_shape(DType::kBf16, 2048, 32, kSharedMax).value();
  EXPECT_EQ(output.k_warps, 8);
  EXPECT_EQ(output.token_rows, 32);
  const auto down = stream_shape(DType::kF8E4m3, 512, 8, kSharedMax).value();
  EXPECT_EQ(down.k_warps, 1);
  EXPECT_EQ(down.blocks_per_sm, 2);
}

TEST(StreamShape, FewerTokensWhereThereIsNoRoom) {
  EXPECT_EQ(stream_shape(DType::kBf16, 4096, 32, kSharedMax)->token_rows, 16);
  EXPECT_EQ(stream_shape(DType::kBf16, 8192, 32, kSharedMax)->token_rows, 8);
  EXPECT_FALSE(stream_shape(DType::kBf16, 16384, 8, kSharedMax).has_value());
}

TEST(ChooseDense, StreamsFewTokensAndTilesMany) {
  EXPECT_EQ(choose_dense(DType::kF8E4m3, 4096, 1, kSharedMax)->token_rows, 8);
  EXPECT_EQ(choose_dense(DType::kF8E4m3, 4096, 9, kSharedMax)->token_rows, 16);
  EXPECT_EQ(choose_dense(DType::kF8E4m3, 4096, 64, kSharedMax)->token_rows, 32);
  EXPECT_FALSE(choose_dense(DType::kF8E4m3, 4096, 65, kSharedMax).has_value());
  EXPECT_EQ(choose_dense(DType::kBf16, 4096, 32, kSharedMax)->token_rows, 16);
  EXPECT_FALSE(choose_dense(DType::kBf16, 4096, 33, kSharedMax).has_value());
}

TEST(ChooseDense, StreamsWhatTheTiledKernelsCannotRead) {
  EXPECT_TRUE(choose_dense(DType::kBf16, 25, 8192, kSharedMax).has_value());
  EXPECT_TRUE(choose_dense(DType::kF8E4m3, 24, 8192, kSharedMax).has_value());
  EXPECT_FALSE(choose_dense(DType::kF8E4m3, 32, 8192, kSharedMax).has_value());
}

TEST(ChooseExpertRows, RoomForTwiceTheMean) {
  ExpertsShape shape{DType::kF8E4m3, DType::kF8E4m3, 4096, 512, 8, 256};
  const auto rows = [&](int64_t num_tokens) {
    shape.num_pairs = num_tokens * 8;
    return choose_expert_rows(shape, kSharedMax);
  };

  EXPECT_EQ(rows(1), 8);
  EXPECT_EQ(rows(64), 8);
  EXPECT_EQ(rows(128), 8);
  EXPECT_EQ(rows(256), 16);
  EXPECT_EQ(rows(512), 32);
  EXPECT_EQ(rows(1024), 32);
  EXPECT_EQ(rows(2048), 0);
}

TEST(ChooseExpertRows, StreamsWhatTheTiledKernelsCannotRead) {
  EXPECT_GT(choose_expert_rows({DType::kF8E4m3, DType::kF8E4m3, 64, 24, 100000, 8}, kSharedMax), 0);
  EXPECT_EQ(choose_expert_rows({DType::kF8E4m3, DType::kF8E4m3, 64, 32, 100000, 8}, kSharedMax), 0);
}

}  // namespace
}  // namespace mimo::kernels::cuda::product
