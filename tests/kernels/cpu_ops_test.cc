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

TEST(CpuOps, QueuedCopiesAndMarksAreDoneAtOnce) {
  auto ops = cpu_ops(CpuMode::kF32);
  auto* staging = static_cast<float*>(ops->allocate_host(400).value());
  void* there = ops->allocate(400, Purpose::kWorkspace).value();
  EXPECT_EQ(staging[99], 0.0f);
  for (int32_t i = 0; i < 100; ++i) staging[i] = static_cast<float>(i);
  auto back = poisoned(100);

  ops->upload_later(there, staging, 400);
  ops->download_later(back.data(), there, 400);
  const Mark mark = ops->mark();

  EXPECT_TRUE(ops->done(mark));
  ops->wait(mark);
  EXPECT_TRUE(std::equal(back.begin(), back.end(), staging));
  EXPECT_EQ(ops->steps_in_flight_max(), 1);
  EXPECT_EQ(ops->padded_rows(5), 5);
  const Result<void> failed = ops->recorded(1, [] {
    return Result<void>(Error{Code::kUnavailable, "gone"});
  });
  EXPECT_EQ(failed.error().message, "gone");
  EXPECT_EQ(bytes_of(*ops, Purpose::kWorkspace), 400);  // the host's are counted nowhere
}

TEST(CpuOps, StackTakesItsShapeAlone) {
  auto ops = cpu_ops(CpuMode::kF32);
  const LinearStack stack = ops->make_stack({2, DType::kBf16, 32, 16}).value();

  EXPECT_EQ(bytes_of(*ops, Purpose::kWeights), 2 * 32 * 16 * 2);
  EXPECT_TRUE(ops->load_into(stack, 1, random_weight(DType::kBf16, 32, 16, 1).view()).ok());
  const auto rows = ops->load_into(stack, 0, random_weight(DType::kBf16, 31, 16, 1).view());
  const auto dtype = ops->load_into(stack, 0, random_weight(DType::kF8E4m3, 32, 16, 1).view());
  EXPECT_EQ(rows.error().code, Code::kInvalidArgument);
  EXPECT_EQ(rows.error().message, "weight [31, 16] BF16 in a stack of [32, 16] BF16");
  EXPECT_EQ(dtype.error().message,
            "weight [32, 16] F8_E4M3 with a scale for 128 rows in a stack of [32, 16] BF16");
}

TEST(CpuOps, EmbedReadsLastTokensAndKnowsOnlyItsOwnIds) {
  auto ops = cpu_ops(CpuMode::kF32);
  const Weight table = random_weight(DType::kF32, 4, 2, 3);
  const auto* rows = reinterpret_cast<const float*>(table.bytes.data());
  const std::vector<int32_t> ids{11, 9, ~2, ~0, ~1};
  const std::vector<int32_t> last_tokens{-1, 14, 13};
  auto out = poisoned(5 * 2);

  ops->embed(
      {ids.data(), last_tokens.data(), ops->load_linear(table.view()).value(), 10, out.data(), 5});

  const std::vector<float> want{rows[2], rows[3], 0, 0, rows[6], rows[7], 0, 0, 0, 0};
  EXPECT_EQ(out, want);
}

TEST(CpuOps, ScatterPutsValuesAtTheirPlaces) {
  auto ops = cpu_ops(CpuMode::kF32);
  std::vector<int32_t> values(6, -1);
  const std::vector<int32_t> at{4, 0};
  const std::vector<int32_t> from{40, 7};

  ops->scatter({values.data(), at.data(), from.data(), 2});

  EXPECT_EQ(values, (std::vector<int32_t>{7, -1, -1, -1, 40, -1}));
}

}  // namespace
}  // namespace mimo::kernels::test
