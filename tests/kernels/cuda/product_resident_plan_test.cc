#include <gtest/gtest.h>

#include "kernels/cuda/product/resident_plan.h"

namespace mimo::kernels::cuda::product {
namespace {

constexpr int32_t kSharedMax = 227 * 1024;

// On an H200.
SwapProblem problem(DType dtype, int32_t rows, int32_t cols, SwapRows kind = SwapRows::kPlain) {
  return {.capability = 90,
          .dtype = dtype,
          .rows = rows,
          .cols = cols,
          .rows_per_scale = 128,
          .kind = kind,
          .k_dim = 192,
          .half = 32,
          .clusters = {132, 66, 30},
          .shared_bytes_max = kSharedMax};
}

TEST(ResidentShape, PartsLieApartAndFitABlock) {
  for (const DType dtype : {DType::kF8E4m3, DType::kBf16}) {
    for (const int32_t row_bytes : {1024, 2048, 4096, 8192}) {
      for (const int32_t rows : {8, 16, 32, 64}) {
        const auto cols = static_cast<int32_t>(row_bytes / dtype_bytes(dtype));
        const auto shape = resident_shape(dtype, cols, rows, kSharedMax);
        if (!shape.has_value()) continue;
        SCOPED_TRACE(::testing::Message() << row_bytes << " bytes, " << rows << " tokens");
        const int32_t slice_bytes = shape->halves * kResidentBlocks * kColumnBlockBytes;
        EXPECT_EQ(shape->k_split * slice_bytes, row_bytes);
        EXPECT_EQ(shape->unit_rows() * slice_bytes, kResidentBytes);
        EXPECT_EQ(shape->tokens_at % 1024, 0);
        EXPECT_GE(shape->tokens_at, kResidentBytes);
        EXPECT_GE(shape->sums_at - shape->tokens_at, rows * slice_bytes);
        EXPECT_GE(shape->scales_at - shape->sums_at, shape->halves * shape->unit_rows() * rows * 4);
        EXPECT_GE(shape->places_at - shape->scales_at,
                  dtype == DType::kF8E4m3 ? shape->halves * kResidentBlocks * rows * 4 : 0);
        EXPECT_GE(shape->barriers_at - shape->places_at, rows * 8);
        EXPECT_EQ(shape->barriers_at % 8, 0);
        EXPECT_GE(shape->shared_bytes - shape->barriers_at, (2 * kResidentBlocks + 2) * 8);
        EXPECT_LE(shape->shared_bytes, kSharedMax);
      }
    }
  }
}

TEST(ResidentShape, RefusesRowsThatAreNotAClustersSlices) {
  EXPECT_FALSE(resident_shape(DType::kF8E4m3, 1024, 8, kSharedMax).has_value());
  EXPECT_FALSE(resident_shape(DType::kF8E4m3, 3072, 64, kSharedMax).has_value());
  EXPECT_FALSE(resident_shape(DType::kF8E4m3, 6144, 8, kSharedMax).has_value());
  EXPECT_FALSE(resident_shape(DType::kBf16, 4096, 64, kSharedMax).has_value());
  EXPECT_FALSE(resident_shape(DType::kF8E4m3, 4096, 8, kResidentBytes).has_value());
}

TEST(ChooseResident, WhatFitsAllSms) {
  const auto split = [](const SwapProblem& p, int32_t num_tokens) {
    const auto shape = choose_resident(p, num_tokens);
    return shape.has_value() ? shape->k_split : 0;
  };
  const SwapProblem qkv = problem(DType::kF8E4m3, 3712, 4096, SwapRows::kHeads);
  const SwapProblem o_proj = problem(DType::kBf16, 4096, 2048);
  EXPECT_EQ(split(qkv, 1), 2);
  EXPECT_EQ(split(qkv, 32), 2);
  EXPECT_EQ(split(qkv, 64), 4);
  EXPECT_EQ(split(qkv, 65), 0);
  EXPECT_EQ(split(qkv, 0), 0);
  EXPECT_EQ(split(o_proj, 32), 2);
  EXPECT_EQ(split(o_proj, 33), 0);  // 32 clusters of 4 do not run at once
  EXPECT_EQ(split(problem(DType::kF8E4m3, 8192, 4096, SwapRows::kGateUp), 1), 0);
  EXPECT_EQ(split(problem(DType::kBf16, 38144, 4096), 1), 0);
  SwapProblem other = qkv;
  other.capability = 100;
  EXPECT_EQ(split(other, 1), 0);
}

}  // namespace
}  // namespace mimo::kernels::cuda::product
