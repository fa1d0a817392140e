#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <ostream>

#include "kernels/cuda/cuda_ops.h"
#include "lockstep_case.h"
#include "lockstep_logits.h"

// The whole model on one GPU, against the recorded answers and the CPU backend with the GPU's
// roundings. Its operations one by one: lockstep_cuda_test.
namespace mimo::node::model_test {
namespace {

#define SKIP_WITHOUT_GPU() \
  if (kernels::cuda::num_devices() == 0) GTEST_SKIP() << "no GPU here"

constexpr int32_t kWholePrompt = 400;

Result<std::unique_ptr<kernels::Ops>> make_gpu_ops(bool record) {
  TRY_ASSIGN(auto ops, kernels::cuda::make_cuda_ops({.record = record}));
  return std::unique_ptr<kernels::Ops>(std::move(ops));
}

Result<std::unique_ptr<Cluster>> gpu_cluster(const std::string& folder, int32_t page_tokens,
                                             bool record = true) {
  ClusterOptions options{.limits = test_limits(page_tokens)};
  options.make_ops = [record] { return make_gpu_ops(record); };
  return Cluster::create(folder, options);
}

struct Layout {
  const char* checkpoint;
  int32_t page_tokens;
};
std::ostream& operator<<(std::ostream& out, const Layout& layout) {
  return out << layout.checkpoint << " page " << layout.page_tokens;
}
std::vector<Layout> layouts() {
  std::vector<Layout> all;
  for (const char* checkpoint : kCheckpoints) {
    for (const int32_t page_tokens : {16, 64}) all.push_back({checkpoint, page_tokens});
  }
  return all;
}

// Both backends may choose otherwise where two logits are nearly equal.
void expect_clear_choices(const std::vector<GoldenCase>& cases,
                          const std::vector<Sequence>& sequences, const std::string& what) {
  constexpr double kClearMargin = 0.05;
  for (size_t i = 0; i < cases.size(); ++i) {
    if (cases[i].min_top2_margin <= kClearMargin) continue;
    EXPECT_EQ(sequences[i].output_ids(), cases[i].greedy) << "case " << i << " " << what;
  }
}

class CudaGolden : public ::testing::TestWithParam<Layout> {};
INSTANTIATE_TEST_SUITE_P(Layouts, CudaGolden, ::testing::ValuesIn(layouts()));

// These checkpoints' weights are random: where two experts' scores are nearly equal a rounding
// decides, the row's logits change by half of their size, and what attends to it moves too. So both
// backends are told the experts of the float run (what they choose themselves from equal inputs is
// compared in lockstep_cuda_test), and what is left is roundings: the GPU's error to the recorded
// float logits is the CPU's with the same rounding points, but for where single roundings fall.
TEST_P(CudaGolden, LogitsAreAsNearTheFloatOnesAsTheRoundingsLetThemAtEveryChunk) {
  SKIP_WITHOUT_GPU();
  const std::string folder = checkpoint_folder(GetParam().checkpoint);
  const int32_t page_tokens = GetParam().page_tokens;
  auto recorded = record_routing(folder);
  ASSERT_TRUE(recorded.ok()) << recorded.error().to_string();
  const auto errors_of = [&](const OpsMaker& make, int32_t chunk) {
    const auto logits = forced_logits(folder, *recorded.value(), make, page_tokens, chunk);
    EXPECT_TRUE(logits.ok()) << logits.error().to_string();
    return errors_to(logits.ok() ? logits.value() : std::vector<std::vector<float>>{},
                     recorded.value()->logits, recorded.value()->vocab);
  };
  const OpErrors cpu = errors_of(cpu_maker(kernels::CpuMode::kDevice), kWholePrompt);
  std::cout << GetParam() << ", the CPU's rounded logits to the float ones: " << cpu << "\n";

  for (const int32_t chunk : {7, 64, kWholePrompt}) {
    SCOPED_TRACE("chunk " + std::to_string(chunk));
    const OpErrors gpu = errors_of([] { return make_gpu_ops(false); }, chunk);
    std::cout << GetParam() << " chunk " << chunk << ", the GPU's: " << gpu << "\n";

    const auto bound = [](double error) { return 1.25 * error + 1e-3; };
    EXPECT_LT(gpu.pooled(), bound(cpu.pooled()));
    EXPECT_LT(gpu.quantile(0.5), bound(cpu.quantile(0.5)));
    EXPECT_LT(gpu.quantile(0.9), bound(cpu.quantile(0.9)));
    EXPECT_LT(gpu.quantile(1), 2 * bound(cpu.quantile(1)));
  }
}

TEST_P(CudaGolden, ClearChoicesAreTheRecordedOnesAtEveryChunk) {
  SKIP_WITHOUT_GPU();
  const std::string folder = checkpoint_folder(GetParam().checkpoint);
  const std::vector<GoldenCase> cases = golden_cases(folder);
  auto gpu = gpu_cluster(folder, GetParam().page_tokens);
  ASSERT_TRUE(gpu.ok()) << gpu.error().to_string();
  const auto vocab = static_cast<size_t>(gpu.value()->config().vocab);

  for (const int32_t chunk : {7, 64, kWholePrompt}) {
    SCOPED_TRACE("chunk " + std::to_string(chunk));
    std::vector<Sequence> sequences;
    const auto logits = run_cases(*gpu.value(), cases, chunk, true, sequences);

    expect_clear_choices(cases, sequences, "with all logits");
    const OpErrors errors = errors_to(logits, recorded_logits(folder, cases), vocab);
    std::cout << GetParam() << " chunk " << chunk << ", its own experts: " << errors << "\n";
    EXPECT_TRUE(std::isfinite(errors.quantile(1))) << "a row without its logits";
  }
}

TEST_P(CudaGolden, PlainGreedyDecodesChooseTheRecordedTokens) {
  SKIP_WITHOUT_GPU();
  const std::string folder = checkpoint_folder(GetParam().checkpoint);
  const std::vector<GoldenCase> cases = golden_cases(folder);
  auto gpu = gpu_cluster(folder, GetParam().page_tokens);
  ASSERT_TRUE(gpu.ok()) << gpu.error().to_string();

  std::vector<Sequence> together;
  run_cases(*gpu.value(), cases, 64, false, together);

  expect_clear_choices(cases, together, "together");
  for (size_t i = 0; i < cases.size(); ++i) {
    std::vector<Sequence> alone;
    run_cases(*gpu.value(), {cases[i]}, kWholePrompt, false, alone);
    expect_clear_choices({cases[i]}, alone, "alone, case " + std::to_string(i));
    EXPECT_EQ(alone[0].outputs.size(), cases[i].greedy.size());
  }
}

// Sequences that come one after the other, so that batches grow and shrink; some greedy, some
// drawn, some with log-probabilities.
std::vector<Sequence> varied(const std::vector<GoldenCase>& cases) {
  std::vector<Sequence> sequences;
  for (size_t i = 0; i < 7; ++i) {
    Sequence one = golden_sequence(cases[i % cases.size()], false);
    one.num_outputs = 9 + static_cast<int32_t>(i) * 4;
    if (i % 3 == 1) one.sampling.temperature = 0.8f;
    if (i % 3 == 1) one.sampling.seed = 40 + i;
    if (i % 3 == 2) one.sampling.num_logprobs = 5;
    sequences.push_back(one);
  }
  return sequences;
}

void run_varied(Cluster& cluster, std::vector<Sequence>& sequences) {
  cluster.reset();
  Planner planner(cluster, sequences, 64);
  for (size_t i = 0; i < sequences.size(); ++i) {
    planner.admit(static_cast<int32_t>(i));
    for (int step = 0; step < 3 && !planner.done(); ++step) planner.step();
  }
  planner.run_to_end();
}

TEST_P(CudaGolden, RecordedStepsAreTheEagerOnesBitForBit) {
  SKIP_WITHOUT_GPU();
  const std::string folder = checkpoint_folder(GetParam().checkpoint);
  const std::vector<GoldenCase> cases = golden_cases(folder);
  auto recorded = gpu_cluster(folder, GetParam().page_tokens, true);
  auto eager = gpu_cluster(folder, GetParam().page_tokens, false);
  ASSERT_TRUE(recorded.ok() && eager.ok());

  for (int repeat = 0; repeat < 2; ++repeat) {  // the second finds other pages in other slots
    std::vector<Sequence> a = varied(cases);
    std::vector<Sequence> b = a;
    run_varied(*recorded.value(), a);
    run_varied(*eager.value(), b);

    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].output_ids(), b[i].output_ids()) << "sequence " << i;
      ASSERT_EQ(a[i].outputs.size(), b[i].outputs.size()) << "sequence " << i;
      for (size_t at = 0; at < a[i].outputs.size(); ++at) {
        EXPECT_EQ(a[i].outputs[at].logprob, b[i].outputs[at].logprob) << i << " at " << at;
        EXPECT_EQ(a[i].outputs[at].top, b[i].outputs[at].top) << i << " at " << at;
      }
    }
  }
  const auto graphs = static_cast<size_t>(kernels::Purpose::kGraphs);
  EXPECT_EQ(eager.value()->rank(0).memory().by_purpose[graphs], 0);
}

TEST_P(CudaGolden, TheSameStepsGiveTheSameBitsAgain) {
  SKIP_WITHOUT_GPU();
  const std::string folder = checkpoint_folder(GetParam().checkpoint);
  const std::vector<GoldenCase> cases = golden_cases(folder);
  auto gpu = gpu_cluster(folder, GetParam().page_tokens);
  ASSERT_TRUE(gpu.ok()) << gpu.error().to_string();
  std::vector<Sequence> sequences;
  const auto first = run_cases(*gpu.value(), cases, 64, true, sequences);

  for (int repeat = 0; repeat < 5; ++repeat) {
    EXPECT_TRUE(run_cases(*gpu.value(), cases, 64, true, sequences) == first) << repeat;
  }
}

}  // namespace
}  // namespace mimo::node::model_test
