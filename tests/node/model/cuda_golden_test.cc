#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iostream>
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

// Errors are a row's: root mean square of the differences over that of the wanted logits.
//
// Rows are judged by their median, since these checkpoints' weights are random: where two experts'
// scores are nearly equal, the last bit of a float sum decides, the row's logits change by half of
// their size, and what attends to it moves too. Two builds of the CPU backend in kDevice that
// differ only in whether products are fused into their sums are as far apart: over all of a case's
// rows up to 0.07 of the logits (bf16) and 0.10 (FP8), in the median row up to 0.004 and 0.05.
// Their error to the recorded float logits is 0.007 at the least in the four of bf16.
struct Checkpoint {
  const char* name;
  float cpu_bound;  // of the median row's error to the CPU's logits
};
constexpr Checkpoint kCheckpoints[] = {
    {"bf16-small-window", 1e-2f},  {"bf16-odd-widths", 1e-2f}, {"bf16-real-heads-window128", 1e-2f},
    {"bf16-expert-groups", 1e-2f}, {"fp8-real-heads", 1e-1f},  {"tiny", 2e-2f},
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

// Each row's error, appended; one infinite where logits are missing or not numbers.
void add_errors(const std::vector<float>& out, const std::vector<float>& want, size_t vocab,
                std::vector<float>& errors) {
  if (out.size() != want.size()) return errors.push_back(kMissing);
  for (size_t begin = 0; begin < out.size(); begin += vocab) {
    double difference = 0;
    double size = 0;
    for (size_t i = begin; i < begin + vocab; ++i) {
      difference += (double{out[i]} - want[i]) * (double{out[i]} - want[i]);
      size += double{want[i]} * want[i];
    }
    const auto error = static_cast<float>(std::sqrt(difference / size));
    errors.push_back(std::isnan(error) ? kMissing : error);
  }
}

float quantile(std::vector<float> errors, double part) {
  CHECK(!errors.empty());
  std::sort(errors.begin(), errors.end());
  return errors[static_cast<size_t>(part * static_cast<double>(errors.size() - 1))];
}

// The errors of all rows of the cases whose logits are recorded: to those, or to another backend's.
std::vector<float> errors_to_recorded(const std::string& folder,
                                      const std::vector<GoldenCase>& cases,
                                      const std::vector<std::vector<float>>& logits, size_t vocab) {
  std::vector<float> errors;
  for (size_t i = 0; i < cases.size(); ++i) {
    if (cases[i].logits.empty()) continue;
    add_errors(logits[i], golden_logits(folder, cases[i].logits), vocab, errors);
  }
  return errors;
}
std::vector<float> errors_to_other(const std::vector<GoldenCase>& cases,
                                   const std::vector<std::vector<float>>& logits,
                                   const std::vector<std::vector<float>>& other, size_t vocab) {
  std::vector<float> errors;
  for (size_t i = 0; i < cases.size(); ++i) {
    if (!cases[i].logits.empty()) add_errors(logits[i], other[i], vocab, errors);
  }
  return errors;
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

TEST_P(CudaGolden, LogitsAreAsNearAsTheRoundingsLetThemAtEveryChunk) {
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
  const auto vocab = static_cast<size_t>(cpu.value()->config().vocab);
  const auto cpu_logits = run_cases(*cpu.value(), cases, kWholePrompt, true, sequences);
  const auto cpu_errors = errors_to_recorded(folder, cases, cpu_logits, vocab);

  for (const int32_t chunk : {7, 64, kWholePrompt}) {
    SCOPED_TRACE("chunk " + std::to_string(chunk));
    const auto logits = run_cases(*gpu.value(), cases, chunk, true, sequences);

    expect_clear_choices(cases, sequences, "with all logits");
    const auto to_cpu = errors_to_other(cases, logits, cpu_logits, vocab);
    const auto recorded = errors_to_recorded(folder, cases, logits, vocab);
    std::cout << GetParam() << " chunk " << chunk << ": median and 90% of the rows' errors to the "
              << "CPU's logits " << quantile(to_cpu, 0.5) << " " << quantile(to_cpu, 0.9)
              << ", to the recorded ones " << quantile(recorded, 0.5) << " "
              << quantile(recorded, 0.9) << " (the CPU's: " << quantile(cpu_errors, 0.5) << " "
              << quantile(cpu_errors, 0.9) << ")\n";
    EXPECT_LT(quantile(to_cpu, 0.5), checkpoint.cpu_bound);
    // The GPU is no further from the float logits than its roundings take the CPU.
    EXPECT_LT(quantile(recorded, 0.5), 1.25f * quantile(cpu_errors, 0.5) + 2e-3f);
    EXPECT_LT(quantile(recorded, 0.9), 1.5f * quantile(cpu_errors, 0.9) + 2e-2f);
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
