#include <gtest/gtest.h>

#include <string>

#include "kernels/cuda/product/slab_plan.h"

namespace mimo::kernels::cuda::product {
namespace {

constexpr int32_t kSharedMax = 227 * 1024;
constexpr SlabTile kTiles[] = {{64, 1, 2}, {128, 1, 2}, {128, 1, 4}, {128, 2, 2}};

// On an H200.
SwapProblem problem(DType dtype, int32_t rows, int32_t cols, SwapRows kind = SwapRows::kPlain) {
  return {.capability = 90,
          .dtype = dtype,
          .rows = rows,
          .cols = cols,
          .rows_per_scale = 64,
          .kind = kind,
          .k_dim = 192,
          .half = 32,
          .clusters = {132, 66, 30},
          .shared_bytes_max = kSharedMax};
}

TEST(SlabShape, PartsLieApartAndFitABlock) {
  for (const SlabTile& tile : kTiles) {
    for (const int32_t cols : {4096, 2048}) {
      if (cols < tile.k_split * kSlabBlocksStep * kColumnBlockBytes) continue;
      const auto shape = slab_shape(tile, cols, kSharedMax);
      SCOPED_TRACE(::testing::Message() << tile.token_tiles << " x " << tile.token_rows << ", "
                                        << tile.k_split << " slices, " << cols << " columns");
      ASSERT_TRUE(shape.has_value());
      EXPECT_EQ(shape->slice_blocks * tile.k_split * kColumnBlockBytes, cols);
      EXPECT_EQ(tile.stage_bytes() % 1024, 0);
      EXPECT_GE(tile.stages(), 4);
      EXPECT_LE(tile.groups() * tile.source_bytes(), tile.stages() * tile.stage_bytes());
      EXPECT_GE(shape->scales_at, tile.stages() * tile.stage_bytes());
      EXPECT_EQ(shape->scales_at % 1024, 0);
      EXPECT_GE(shape->sums_at - shape->scales_at, tile.token_rows * kSlabBlocksMax * 4);
      const int32_t sources = (tile.k_split - 1) * tile.groups();
      EXPECT_GE(shape->turns_at - shape->sums_at, sources * tile.finished_rows() * kSlabRows * 4);
      EXPECT_EQ(shape->turns_at % 16, 0);
      EXPECT_GE(shape->places_at - shape->turns_at, tile.finished_rows() * kSlabTurns * 8);
      EXPECT_GE(shape->columns_at - shape->places_at, tile.finished_rows() * 8);
      EXPECT_EQ(shape->columns_at % 8, 0);
      EXPECT_GE(shape->barriers_at - shape->columns_at, kSlabRows / 8 * 8);
      EXPECT_EQ(shape->barriers_at % 8, 0);
      EXPECT_GE(shape->shared_bytes - shape->barriers_at, tile.stages() * 16 + 24);
      EXPECT_LE(shape->shared_bytes, kSharedMax);
    }
  }
}

TEST(SlabShape, RefusesColumnsThatAreNotWholeSlices) {
  EXPECT_FALSE(slab_shape({128, 1, 4}, 256, kSharedMax).has_value());
  EXPECT_FALSE(slab_shape({128, 1, 4}, 4096 + 128, kSharedMax).has_value());
  EXPECT_FALSE(slab_shape({64, 2, 1}, 8192, kSharedMax).has_value());
  EXPECT_FALSE(slab_shape({128, 2, 2}, 4096, 192 * 1024).has_value());
}

TEST(SlabRefusal, SaysWhy) {
  const auto why = [](const SwapProblem& p) {
    const char* const refusal = slab_refusal(p);
    return std::string(refusal == nullptr ? "" : refusal);
  };
  SwapProblem p = problem(DType::kF8E4m3, 3712, 4096, SwapRows::kHeads);
  EXPECT_EQ(why(p), "");
  p.rows_per_scale = 32;
  EXPECT_EQ(why(p), "");
  p.rows_per_scale = 16;
  EXPECT_EQ(why(p), "slab: rows_per_scale is no multiple of 32");
  p = problem(DType::kF8E4m3, 4096, 4096);
  p.rows_per_scale = 32;
  EXPECT_EQ(why(p), "slab: rows_per_scale is no multiple of 64");
  EXPECT_EQ(why(problem(DType::kBf16, 4096, 2048)), "slab: the weight is not e4m3");
  EXPECT_EQ(why(problem(DType::kF8E4m3, 96, 4096, SwapRows::kGateUp)),
            "slab: gate and up are no multiples of 32 rows");
  p.capability = 100;
  EXPECT_EQ(why(p), "swap: needs compute capability 9.0");
}

TEST(ChooseSlab, OneWaveOfClusters) {
  const auto tile = [](const SwapProblem& p, int32_t num_tokens) {
    const auto shape = choose_slab(p, num_tokens);
    return shape.has_value() ? shape->tile : SlabTile{};
  };
  const SlabTile none;
  const SwapProblem qkv = problem(DType::kF8E4m3, 3712, 4096, SwapRows::kHeads);
  EXPECT_EQ(tile(qkv, 0), none);
  EXPECT_EQ(tile(qkv, kSlabTokensMin), none);
  EXPECT_EQ(tile(qkv, 65), (SlabTile{128, 1, 4}));
  EXPECT_EQ(tile(qkv, 128), (SlabTile{128, 1, 4}));
  EXPECT_EQ(tile(qkv, 129), (SlabTile{128, 2, 2}));
  EXPECT_EQ(tile(qkv, 256), (SlabTile{128, 2, 2}));
  EXPECT_EQ(tile(qkv, 257), none);
  const SwapProblem gate_up = problem(DType::kF8E4m3, 8192, 4096, SwapRows::kGateUp);
  const SwapProblem down = problem(DType::kF8E4m3, 4096, 4096);
  EXPECT_EQ(tile(gate_up, 64), (SlabTile{64, 1, 2}));
  EXPECT_EQ(tile(gate_up, 65), (SlabTile{128, 1, 2}));  // 64 clusters of 4 do not run at once
  EXPECT_EQ(tile(gate_up, 129), none);
  EXPECT_EQ(tile(down, 64), (SlabTile{64, 1, 2}));
  EXPECT_EQ(tile(down, 128), (SlabTile{128, 1, 2}));
  EXPECT_EQ(tile(down, 256), none);
}

}  // namespace
}  // namespace mimo::kernels::cuda::product
