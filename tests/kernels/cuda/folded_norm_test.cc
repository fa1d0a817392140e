#include "kernels/cuda/rows/folded_norm.h"

#include <gtest/gtest.h>

#include "kernels/cuda/product/resident_plan.h"
#include "kernels/cuda/route/route_plan.h"

namespace mimo::kernels::cuda {
namespace {

// Addresses that nothing reads.
struct Memory {
  uint16_t residual[8];
  uint16_t delta[8];
  uint16_t residual_out[8];
  uint16_t values[8];
  uint8_t q[8];
  float scales[1];
};

AddNormParams params(Memory& at) {
  AddNormParams out;
  out.residual = at.residual;
  out.delta = at.delta;
  out.residual_out = at.residual_out;
  out.out = {at.values, at.q, at.scales, 4096};
  out.num_tokens = 1;
  return out;
}

TEST(FoldedNormChoice, IsForOneTokenWhoseSumGoesElsewhere) {
  Memory at;
  const AddNormParams p = params(at);
  EXPECT_TRUE(can_fold(p));
  const auto changed = [&](auto change) {
    AddNormParams other = p;
    change(other);
    return can_fold(other);
  };
  EXPECT_FALSE(changed([](AddNormParams& x) { x.num_tokens = kFoldTokensMax + 1; }));
  EXPECT_FALSE(changed([](AddNormParams& x) { x.num_tokens = 0; }));
  EXPECT_FALSE(changed([](AddNormParams& x) { x.residual_out = nullptr; }));
  EXPECT_FALSE(changed([](AddNormParams& x) { x.residual_out = x.residual; }));
  EXPECT_FALSE(changed([](AddNormParams& x) { x.delta = nullptr; }));
  EXPECT_FALSE(changed([](AddNormParams& x) { x.out.cols = kFoldHiddenMax + 8; }));
}

TEST(FoldedNormChoice, AReaderReadsAllRowsOfThatNorm) {
  Memory at;
  const AddNormParams norm = params(at);
  RouteParams route;
  route.x = at.values;
  route.hidden = 4096;
  route.num_tokens = 1;
  EXPECT_TRUE(reads_all(norm, route));
  route.x = at.residual;
  EXPECT_FALSE(reads_all(norm, route));
  route.x = at.values;
  route.num_tokens = 2;
  EXPECT_FALSE(reads_all(norm, route));

  QkvParams qkv;
  qkv.x = norm.out;
  qkv.runs.num_tokens = 1;
  EXPECT_TRUE(reads_all(norm, qkv));
  qkv.runs.num_tokens = 2;
  EXPECT_FALSE(reads_all(norm, qkv));
  qkv.runs.num_tokens = 1;
  qkv.x.q = nullptr;
  EXPECT_FALSE(reads_all(norm, qkv));
}

TEST(FoldedNormChoice, AKernelFoldsWhatItsBlocksHaveWhole) {
  EXPECT_TRUE(router::folds_norm({1, 256, 4096}));
  EXPECT_TRUE(router::folds_norm({1, 256, 1024}));
  EXPECT_FALSE(router::folds_norm({2, 256, 4096}));
  EXPECT_FALSE(router::folds_norm({1, 256, 4096 - 128}));

  constexpr int32_t kShared = 232448;
  const auto folds = [&](int32_t cols, int32_t token_rows) {
    const auto shape = product::resident_shape(DType::kF8E4m3, cols, token_rows, kShared);
    return shape.has_value() && product::folds_norm(*shape, cols);
  };
  EXPECT_TRUE(folds(4096, 8));
  EXPECT_TRUE(folds(2048, 8));
  EXPECT_FALSE(folds(8192, 8));
  EXPECT_FALSE(folds(4096, 16));
}

}  // namespace
}  // namespace mimo::kernels::cuda
