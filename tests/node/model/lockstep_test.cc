#include <gtest/gtest.h>

#include <iostream>

#include "lockstep_case.h"
#include "lockstep_logits.h"

// The comparisons that a GPU's tests stand on, between CPU backends: they find no difference where
// there is none, and find it where there is one.
namespace mimo::node::model_test {
namespace {

using kernels::CpuMode;

TEST(LockstepOfTwoCpus, FindsNoDifferenceWhereThereIsNone) {
  const Lockstep report = run_lockstep("bf16-expert-groups", 16, 7, 4, cpu_maker(CpuMode::kDevice));

  for (const char* op : {"embed", "add_norm", "qkv BF16 k", "attention", "route", "experts BF16",
                         "dense_ffn BF16", "linear BF16", "logits BF16", "sample", "score full"}) {
    EXPECT_GT(report.count(op) == 0 ? 0 : report.at(op).num_calls(), 0) << op;
  }
  for (const auto& [op, errors] : report) {
    EXPECT_EQ(errors.num_unequal(), 0) << op << ": " << errors.first_unequal();
    EXPECT_EQ(errors.quantile(1), 0) << op;
  }
}

// The CPU without the GPU's roundings: every operation that rounds shows it, none that does not.
TEST(LockstepOfTwoCpus, FindsRoundingsThatDiffer) {
  const Lockstep report = run_lockstep("fp8-real-heads", 16, 64, 1, cpu_maker(CpuMode::kF32));

  for (const char* op : {"add_norm", "qkv F8_E4M3 q", "attention", "experts F8_E4M3",
                         "dense_ffn F8_E4M3", "linear BF16"}) {
    EXPECT_GT(report.at(op).pooled(), 1e-3) << op << ": " << report.at(op);
    EXPECT_LT(report.at(op).pooled(), 0.1) << op << ": " << report.at(op);
  }
  EXPECT_GT(report.at("add_norm residual").num_unequal(), 0);
  EXPECT_EQ(report.at("embed").num_unequal(), 0);
  EXPECT_EQ(report.at("route").num_unequal(), 0);
  EXPECT_LT(report.at("logits BF16").pooled(), 1e-6);
}

// With the float run's experts, what is left of the error is the roundings'.
TEST(ForcedRouting, LeavesOnlyTheRoundings) {
  for (const char* name : kCheckpoints) {
    if (kSanitized && std::string(name) != "bf16-expert-groups") continue;
    SCOPED_TRACE(name);
    const std::string folder = checkpoint_folder(name);
    auto recorded = record_routing(folder);
    ASSERT_TRUE(recorded.ok()) << recorded.error().to_string();
    EXPECT_FALSE(recorded.value()->routing.choices.empty());

    for (const CpuMode mode : {CpuMode::kF32, CpuMode::kDevice}) {
      const auto logits = forced_logits(folder, *recorded.value(), cpu_maker(mode), 16, 64);
      ASSERT_TRUE(logits.ok()) << logits.error().to_string();
      const OpErrors errors =
          errors_to(logits.value(), recorded.value()->logits, recorded.value()->vocab);
      std::cout << name << (mode == CpuMode::kF32 ? " float: " : " rounded: ") << errors << "\n";
      if (mode == CpuMode::kF32) {
        EXPECT_LT(errors.quantile(1), 1e-4);
        continue;
      }
      EXPECT_LT(errors.pooled(), std::string(name) == "fp8-real-heads" ? 0.2 : 0.04);
      EXPECT_GT(errors.pooled(), 1e-3);  // the mode does round
    }
  }
}

}  // namespace
}  // namespace mimo::node::model_test
