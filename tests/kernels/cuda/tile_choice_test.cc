#include "kernels/cuda/tile/tile_choice.h"

#include <gtest/gtest.h>

namespace mimo::kernels::cuda {
namespace {

TileShape fp8() { return {.capability = 90, .dtype = DType::kF8E4m3, .rows = 3712, .cols = 4096}; }
TileShape bf16() { return {.capability = 90, .dtype = DType::kBf16, .rows = 4096, .cols = 2048}; }
TileKernel automatic(const TileShape& shape) {
  return choose_tile_kernel(TileKernel::kAuto, shape);
}

TEST(TileChoice, Fp8OnSm90GoesToWgmma) {
  EXPECT_EQ(automatic(fp8()), TileKernel::kWgmma);
  TileShape experts = fp8();
  experts.rows = 1024;
  experts.out = TileOut::kSiluMul;
  experts.grouped = true;
  experts.gathered = true;
  EXPECT_EQ(automatic(experts), TileKernel::kWgmma);
  TileShape fine_scales = fp8();
  fine_scales.rows_per_scale = 64;
  EXPECT_EQ(automatic(fine_scales), TileKernel::kWgmma);
}

TEST(TileChoice, WhatWgmmaRefusesGoesToMmaSync) {
  TileShape shape = fp8();
  shape.capability = 100;
  EXPECT_EQ(automatic(shape), TileKernel::kMmaSync);
  shape = fp8();
  shape.cols = 4096 + 64;
  EXPECT_EQ(automatic(shape), TileKernel::kMmaSync);
  shape = fp8();
  shape.rows_per_scale = 32;
  EXPECT_EQ(automatic(shape), TileKernel::kMmaSync);
  shape = fp8();
  shape.aligned = false;
  EXPECT_EQ(automatic(shape), TileKernel::kMmaSync);
  shape = fp8();
  shape.out = TileOut::kSiluMul;
  shape.rows = 192;
  EXPECT_EQ(automatic(shape), TileKernel::kMmaSync);
}

TEST(TileChoice, DenseBf16GoesToCublasLt) {
  EXPECT_EQ(automatic(bf16()), TileKernel::kCublasLt);
  TileShape logits = bf16();
  logits.capability = 100;
  logits.out = TileOut::kF32;
  EXPECT_EQ(automatic(logits), TileKernel::kCublasLt);
}

TEST(TileChoice, WhatCublasLtRefusesGoesToMmaSync) {
  TileShape shape = bf16();
  shape.grouped = true;
  EXPECT_EQ(automatic(shape), TileKernel::kMmaSync);
  shape = bf16();
  shape.gathered = true;
  EXPECT_EQ(automatic(shape), TileKernel::kMmaSync);
  shape = bf16();
  shape.out = TileOut::kSiluMul;
  EXPECT_EQ(automatic(shape), TileKernel::kMmaSync);
}

TEST(TileChoice, WhatIsAskedForIsTaken) {
  EXPECT_EQ(choose_tile_kernel(TileKernel::kMmaSync, fp8()), TileKernel::kMmaSync);
  EXPECT_EQ(choose_tile_kernel(TileKernel::kMmaSync, bf16()), TileKernel::kMmaSync);
  EXPECT_EQ(choose_tile_kernel(TileKernel::kWgmma, fp8()), TileKernel::kWgmma);
}

TEST(TileChoice, ARefusalSaysWhy) {
  EXPECT_DEATH(choose_tile_kernel(TileKernel::kWgmma, bf16()), "the weight is not e4m3");
  EXPECT_DEATH(choose_tile_kernel(TileKernel::kCublasLt, fp8()), "the weight is not bf16");
  TileShape odd = fp8();
  odd.cols = 28;
  EXPECT_DEATH(automatic(odd), "not a multiple of 8");
  TileShape old = fp8();
  old.capability = 80;
  EXPECT_DEATH(automatic(old), "8.9");
}

TEST(TileChoice, WideTilesAreForManyOfThem) {
  EXPECT_TRUE(wide_tiles(64, 3712, 132));   // 15 rounds of narrow tiles, 8 of wide ones
  EXPECT_TRUE(wide_tiles(512, 1024, 132));  // 32 and 16
  EXPECT_TRUE(wide_tiles(512, 4096, 132));
  EXPECT_FALSE(wide_tiles(2, 3712, 132));  // one round either way
  EXPECT_FALSE(wide_tiles(64, 128, 132));  // half of each wide tile would be empty
}

}  // namespace
}  // namespace mimo::kernels::cuda
