#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <ostream>

#include "harness.h"
#include "kernels/cuda/cuda_ops.h"

// The whole model on one GPU, against the recorded answers and the CPU backend with the GPU's
// roundings.
namespace mimo::node::model_test {
namespace {

#define SKIP_WITHOUT_GPU() \
  if (kernels::cuda::num_devices() == 0) GTEST_SKIP() << "no GPU here"

constexpr int32_t kWholePrompt = 400;
constexpr float kMissing = std::numeric_limits<float>::infinity();

Result<std::unique_ptr<Cluster>> gpu_cluster(const std::string& folder, int32_t page_tokens,
                                             bool record = true) {
  ClusterOptions options{.limits = test_limits(page_tokens)};
  options.make_ops = [record]() -> Result<std::unique_ptr<kernels::Ops>> {
    TRY_ASSIGN(auto ops, kernels::cuda::make_cuda_ops({.record = record}));
    return std::unique_ptr<kernels::Ops>(std::move(ops));
  };
  return Cluster::create(folder, options);
}

struct Checkpoint {
  const char* name;
  // Of the logits, root mean square over root mean square: to the recorded ones, and to the CPU's.
  // Where inputs of FP8 products are quantised, a float sum that ends on the other side of an e4m3
  // step (2^-4 of the value) moves everything behind it, in either backend.
  float recorded_bound;
  float cpu_bound;
};
constexpr Checkpoint kCheckpoints[] = {
    {"bf16-small-window", 1e-2f, 2e-3f},
    {"bf16-odd-widths", 1e-2f, 2e-3f},
    {"bf16-real-heads-window128", 1e-2f, 2e-3f},
    {"bf16-expert-groups", 1e-2f, 2e-3f},
    {"fp8-real-heads", 1e-1f, 5e-2f},
    {"tiny", 1e-1f, 5e-2f},
};

struct Layout {
  Checkpoint checkpoint;
  int32_t page_tokens;
};
std::ostream& operator<<(std::ostream& out, const Layout& layout) {
  return out << layout.checkpoint.name << " page " << layout.page_tokens;
}
std::vector<Layout> layouts() {
  std::vector<Layout> all;
  for (const Checkpoint& checkpoint : kCheckpoints) {
    for (const int32_t page_tokens : {16, 64}) all.push_back({checkpoint, page_tokens});
  }
  return all;
}

// The logits behind each token of the prompt, [prompt, vocab]; empty where one is missing.
std::vector<float> prompt_logits(const Sequence& sequence, size_t vocab) {
  const size_t num_rows = sequence.prompt.size();
  std::vector<float> out(num_rows * vocab);
  for (size_t row = 0; row < num_rows; ++row) {
    const bool last = row + 1 == num_rows;
    const auto score = sequence.scores.find(static_cast<int32_t>(row) + 1);
    if (last ? sequence.outputs.empty() : score == sequence.scores.end()) return {};
    const kernels::TokenChoice& choice = last ? sequence.outputs[0] : score->second;
    if (choice.top.size() != vocab) return {};
    for (const kernels::TokenLogprob& entry : choice.top) {
      out[row * vocab + static_cast<size_t>(entry.id)] = entry.logprob;
    }
  }
  return out;
}

float relative_error(const std::vector<float>& out, const std::vector<float>& want) {
  if (out.size() != want.size()) return kMissing;
  double errors = 0;
  double squares = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    if (std::isnan(out[i])) return kMissing;
    errors += (double{out[i]} - want[i]) * (double{out[i]} - want[i]);
    squares += double{want[i]} * want[i];
  }
  return static_cast<float>(std::sqrt(errors / squares));
}

// Each case's logits of its prompt; those that are recorded ask for them.
std::vector<std::vector<float>> run_cases(Cluster& cluster, const std::vector<GoldenCase>& cases,
                                          int32_t chunk, bool all_logits,
                                          std::vector<Sequence>& sequences) {
  sequences.clear();
  for (const GoldenCase& one : cases) {
    sequences.push_back(golden_sequence(one, all_logits && !one.logits.empty()));
  }
  generate(cluster, sequences, chunk);
  std::vector<std::vector<float>> logits;
  const auto vocab = static_cast<size_t>(cluster.config().vocab);
  for (const Sequence& sequence : sequences) logits.push_back(prompt_logits(sequence, vocab));
  return logits;
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

TEST_P(CudaGolden, LogitsAreNearTheRecordedOnesAndTheCpusAtEveryChunk) {
  SKIP_WITHOUT_GPU();
  const Checkpoint checkpoint = GetParam().checkpoint;
  const int32_t page_tokens = GetParam().page_tokens;
  const std::string folder = checkpoint_folder(checkpoint.name);
  const std::vector<GoldenCase> cases = golden_cases(folder);
  auto cpu = Cluster::create(
      folder, {.mode = kernels::CpuMode::kDevice, .limits = test_limits(page_tokens)});
  ASSERT_TRUE(cpu.ok()) << cpu.error().to_string();
  auto gpu = gpu_cluster(folder, page_tokens);
  ASSERT_TRUE(gpu.ok()) << gpu.error().to_string();
  std::vector<Sequence> sequences;
  const auto cpu_logits = run_cases(*cpu.value(), cases, kWholePrompt, true, sequences);

  for (const int32_t chunk : {7, 64, kWholePrompt}) {
    const auto logits = run_cases(*gpu.value(), cases, chunk, true, sequences);

    expect_clear_choices(cases, sequences, "chunk " + std::to_string(chunk));
    for (size_t i = 0; i < cases.size(); ++i) {
      if (cases[i].logits.empty()) continue;
      const std::string where = "case " + std::to_string(i) + " chunk " + std::to_string(chunk);
      const float recorded = relative_error(logits[i], golden_logits(folder, cases[i].logits));
      const float to_cpu = relative_error(logits[i], cpu_logits[i]);
      EXPECT_LT(recorded, checkpoint.recorded_bound) << where << " to the recorded logits";
      EXPECT_LT(to_cpu, checkpoint.cpu_bound) << where << " to the CPU's logits";
      RecordProperty("recorded_" + std::to_string(i) + "_" + std::to_string(chunk),
                     std::to_string(recorded));
      RecordProperty("cpu_" + std::to_string(i) + "_" + std::to_string(chunk),
                     std::to_string(to_cpu));
    }
  }
}

TEST_P(CudaGolden, PlainGreedyDecodesChooseTheRecordedTokens) {
  SKIP_WITHOUT_GPU();
  const std::string folder = checkpoint_folder(GetParam().checkpoint.name);
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
  const std::string folder = checkpoint_folder(GetParam().checkpoint.name);
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
  const std::string folder = checkpoint_folder(GetParam().checkpoint.name);
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
