#include <gtest/gtest.h>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/weight_store.h"

namespace mimo::kernels::cuda {
namespace {

TEST(CudaRefusals, ADeviceThatIsNotThereIsRefused) {
  const auto ops = make_cuda_ops({.device = num_devices()});

  ASSERT_FALSE(ops.ok());
  EXPECT_EQ(ops.error().code, Code::kFailedPrecondition) << ops.error().message;
}

TEST(CudaRefusals, ABoundBelowZeroIsRefusedByName) {
  const auto ops = make_cuda_ops({.memory_bytes_max = -1});

  ASSERT_FALSE(ops.ok());
  EXPECT_EQ(ops.error().code, Code::kInvalidArgument);
  EXPECT_NE(ops.error().message.find("memory_bytes_max: -1"), std::string::npos);
}

TEST(PaddedCols, RowsBeginAtSixteenBytes) {
  EXPECT_EQ(padded_cols({1, DType::kBf16, 5, 8, 128}), 8);
  EXPECT_EQ(padded_cols({1, DType::kBf16, 5, 24, 128}), 24);
  EXPECT_EQ(padded_cols({1, DType::kF8E4m3, 5, 24, 128}), 32);
  EXPECT_EQ(padded_cols({1, DType::kF8E4m3, 5, 4096, 128}), 4096);
}

TEST(PaddedCols, AStacksMatricesBeginAtAHundredAndTwentyEightBytes) {
  for (const DType dtype : {DType::kBf16, DType::kF8E4m3}) {
    for (int64_t rows = 1; rows < 70; ++rows) {
      for (int64_t cols = 8; cols < 600; cols += 8) {
        const int64_t padded = padded_cols({2, dtype, rows, cols, 128});
        EXPECT_GE(padded, cols);
        EXPECT_LT(padded * dtype_bytes(dtype), cols * dtype_bytes(dtype) + 144);
        EXPECT_EQ(rows * padded * dtype_bytes(dtype) % 128, 0) << rows << " x " << cols;
      }
    }
  }
  EXPECT_EQ(padded_cols({256, DType::kF8E4m3, 1024, 4096, 128}), 4096);
  EXPECT_EQ(padded_cols({256, DType::kF8E4m3, 4096, 512, 128}), 512);
}

}  // namespace
}  // namespace mimo::kernels::cuda
