#include "node/service/backend.h"

#include <gtest/gtest.h>

namespace mimo::node {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kMiB = int64_t{1} << 20;

DeviceBudget h200() {
  return {.total_bytes = 140 * kGiB,
          .fraction = 0.9,
          .used_bytes = kGiB,
          .weight_bytes = 78 * kGiB,
          .workspace_bytes = 2 * kGiB,
          .reserve_bytes = 2 * kGiB};
}

TEST(DeviceBudget, IsWhatTheRestLeavesOfTheFraction) {
  EXPECT_EQ(h200().kv_bytes().value(), 43 * kGiB);
}

TEST(DeviceBudget, HidesSmallDifferences) {
  DeviceBudget budget = h200();
  budget.used_bytes += 5 * kMiB;

  EXPECT_EQ(budget.kv_bytes().value(), 43 * kGiB - 64 * kMiB);
  budget.used_bytes += 50 * kMiB;
  EXPECT_EQ(budget.kv_bytes().value(), 43 * kGiB - 64 * kMiB);
}

TEST(DeviceBudget, NothingLeftIsToldWithItsFigures) {
  DeviceBudget budget = h200();
  budget.weight_bytes = 155 * kGiB;

  const auto refused = budget.kv_bytes();

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  EXPECT_NE(refused.error().message.find(std::to_string(155 * kGiB)), std::string::npos);
}

TEST(Backend, OnTheCpuAutoIsF32AndOneRankNeedsNoEndpoint) {
  const auto backend = Backend::open({}).value();

  EXPECT_FALSE(backend->is_cuda());
  EXPECT_EQ(backend->make_ops("auto").value()->activation_dtype(), DType::kF32);
  EXPECT_EQ(backend->make_ops("fp4").error().message,
            "mode \"fp4\"; expected auto, f32, device or invariant");
  EXPECT_EQ(backend->open_endpoint(0, 1, "127.0.0.1").value(), nullptr);
  EXPECT_NE(backend->open_endpoint(0, 2, "127.0.0.1").value(), nullptr);
}

TEST(Backend, WithoutItsModuleCudaIsRefused) {
  WorkerConfig config;
  config.backend = "cuda";

  const auto refused = Backend::open(config);

  ASSERT_FALSE(refused.ok());  // no module lies beside this test
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_NE(refused.error().message.find("libmimo_cuda.so"), std::string::npos);
}

}  // namespace
}  // namespace mimo::node
