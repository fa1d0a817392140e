#include "tests/kernels/support.h"

namespace mimo::kernels::test {
namespace {

int64_t bytes_of(const Ops& ops, Purpose purpose) {
  return ops.bytes_by_purpose()[static_cast<size_t>(purpose)];
}

TEST(CpuOps, MemoryIsZeroedAlignedAndCounted) {
  auto ops = cpu_ops(CpuMode::kF32);

  auto* memory = static_cast<uint8_t*>(ops->allocate(1000, Purpose::kK).value());
  ops->allocate(0, Purpose::kV).value();
  ops->load_linear(random_weight(DType::kBf16, 17, 10, 1).view()).value();

  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0u);
  for (int32_t i = 0; i < 1000; ++i) EXPECT_EQ(memory[i], 0);
  EXPECT_EQ(bytes_of(*ops, Purpose::kK), 1000);
  EXPECT_EQ(bytes_of(*ops, Purpose::kV), 0);
  EXPECT_EQ(bytes_of(*ops, Purpose::kWeights), 32 * 10 * 2);  // whole panels of 16 outputs
}

TEST(CpuOps, BoundIsKeptAndARefusalTakesNothing) {
  auto ops = make_cpu_ops({.memory_bytes_max = 1500}).value();
  ops->allocate(1000, Purpose::kK).value();

  const auto refused = ops->allocate(501, Purpose::kV);
  const auto refused_weight = ops->load_linear(random_weight(DType::kF32, 16, 16, 1).view());
  StepLimits limits;
  limits.tokens_max = 100;
  limits.hidden = 64;
  const auto refused_workspace = ops->prepare(limits);

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  EXPECT_EQ(refused.error().message,
            "501 bytes for v on top of 1000 are more than the bound of 1500");
  EXPECT_FALSE(refused_weight.ok());
  EXPECT_FALSE(refused_workspace.ok());
  EXPECT_EQ(bytes_of(*ops, Purpose::kV), 0);
  EXPECT_TRUE(ops->allocate(500, Purpose::kV).ok());
}

TEST(CpuOps, OptionsAreValidated) {
  EXPECT_FALSE(make_cpu_ops({.num_threads = -1}).ok());
  EXPECT_FALSE(make_cpu_ops({.memory_bytes_max = -1}).ok());
}

TEST(CpuOps, CopiesBothWays) {
  auto ops = cpu_ops(CpuMode::kDevice);
  const auto values = random_floats(100, 1, CpuMode::kF32);
  void* there = ops->allocate(400, Purpose::kWorkspace).value();
  auto back = poisoned(100);

  ops->upload(there, values.data(), 400);
  ops->download(back.data(), there, 400);

  EXPECT_EQ(back, values);
  EXPECT_EQ(ops->activation_dtype(), DType::kF32);
  EXPECT_EQ(ops->cache_dtype(), DType::kBf16);
  EXPECT_STREQ(purpose_name(Purpose::kTransfer), "transfer");
}

}  // namespace
}  // namespace mimo::kernels::test
