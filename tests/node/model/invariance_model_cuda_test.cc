#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "kernels/cuda/cuda_ops.h"
#include "lockstep_case.h"

// Whole models in the batch-invariant mode: a sequence among neighbours and alone, bit for bit.
namespace mimo::node::model_test {
namespace {

#define SKIP_WITHOUT_GPU() \
  if (kernels::cuda::num_devices() == 0) GTEST_SKIP() << "no GPU here"

constexpr int32_t kSequencesMax = 24;
constexpr uint32_t kSeed = 20261123;

Result<std::unique_ptr<Cluster>> invariant_cluster(const std::string& folder) {
  ClusterOptions options{.limits = test_limits(16)};
  options.limits.sequences_max = kSequencesMax;
  options.num_pages = {1000, 1000};
  options.make_ops = []() -> Result<std::unique_ptr<kernels::Ops>> {
    TRY_ASSIGN(auto ops, kernels::cuda::make_cuda_ops({.batch_invariant = true}));
    return std::unique_ptr<kernels::Ops>(std::move(ops));
  };
  return Cluster::create(folder, options);
}

Sequence random_sequence(int32_t vocab, std::mt19937& generator) {
  Sequence out;
  const uint32_t length = 1 + generator() % 90;
  for (uint32_t i = 0; i < length; ++i) {
    out.prompt.push_back(static_cast<int32_t>(generator() % static_cast<uint32_t>(vocab)));
  }
  out.num_outputs = 1 + static_cast<int32_t>(generator() % 40);
  out.sampling.temperature = 0;
  return out;
}

// `first` as sequence `at` among `num_others` that come one after the other, so that steps of
// prompts, of decode rows and of both have all sizes up to theirs together.
Sequence among(Cluster& cluster, const Sequence& first, size_t at, size_t num_others, int32_t chunk,
               uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<Sequence> sequences;
  for (size_t i = 0; i <= num_others; ++i) {
    sequences.push_back(i == at ? first : random_sequence(cluster.config().vocab, generator));
  }
  cluster.reset();
  Planner planner(cluster, sequences, chunk);
  for (size_t i = 0; i < sequences.size(); ++i) {
    planner.admit(static_cast<int32_t>(i));
    if (generator() % 3 == 0) planner.step();
  }
  planner.run_to_end();
  return sequences[at];
}

void expect_same(const Sequence& one, const Sequence& alone, const std::string& what) {
  EXPECT_EQ(one.output_ids(), alone.output_ids()) << what;
  ASSERT_EQ(one.outputs.size(), alone.outputs.size()) << what;
  for (size_t i = 0; i < one.outputs.size(); ++i) {
    ASSERT_TRUE(one.outputs[i].logprob == alone.outputs[i].logprob &&
                one.outputs[i].top == alone.outputs[i].top)
        << what << ", output " << i;
  }
  ASSERT_EQ(one.scores.size(), alone.scores.size()) << what;
  for (const auto& [position, score] : alone.scores) {
    const auto found = one.scores.find(position);
    ASSERT_TRUE(found != one.scores.end() && found->second.top == score.top)
        << what << ", the prompt's position " << position;
  }
}

class InvarianceOfModels : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Checkpoints, InvarianceOfModels, ::testing::ValuesIn(kCheckpoints));

// Steps of at most 256 rows in chunks that are the same alone and among others: nothing of a
// sequence's logits, its prompt's and those that it draws from, depends on the others.
TEST_P(InvarianceOfModels, ASequencesLogitsAreTheSameAloneAndAmongOthers) {
  SKIP_WITHOUT_GPU();
  const std::string folder = checkpoint_folder(GetParam());
  auto cluster = invariant_cluster(folder);
  ASSERT_TRUE(cluster.ok()) << cluster.error().to_string();
  const GoldenCase one = golden_cases(folder).front();

  for (const bool all_logits : {true, false}) {  // without them decode steps are recorded ones
    Sequence sequence = golden_sequence(one, all_logits);
    if (!all_logits) sequence.sampling.num_logprobs = 5;
    for (const int32_t chunk : {7, 10}) {  // one for each kind of attention's kernels
      const Sequence alone = among(*cluster.value(), sequence, 0, 0, chunk, 0);
      ASSERT_FALSE(alone.outputs.empty());
      for (const size_t num_others :
           {size_t{1}, size_t{2}, size_t{4}, size_t{9}, size_t{16}, size_t{kSequencesMax} - 1}) {
        const uint32_t seed = kSeed + static_cast<uint32_t>(num_others);
        const size_t at = num_others * static_cast<size_t>(chunk) / 10;
        const Sequence other = among(*cluster.value(), sequence, at, num_others, chunk, seed);
        expect_same(other, alone,
                    std::to_string(num_others) + " others, chunks of " + std::to_string(chunk) +
                        ", seed " + std::to_string(seed) + (all_logits ? ", all logits" : ""));
      }
    }
  }
}

// A row's attention is the prompts' kernel's in a chunk of more than eight rows, the decode
// kernel's in others. Among the former it does not matter which.
TEST_P(InvarianceOfModels, APromptsLogitsAreTheSameHoweverItIsCutIntoChunksOfMoreThanEightRows) {
  SKIP_WITHOUT_GPU();
  auto cluster = invariant_cluster(checkpoint_folder(GetParam()));
  ASSERT_TRUE(cluster.ok()) << cluster.error().to_string();
  std::mt19937 generator(kSeed);
  GoldenCase one;
  for (int32_t i = 0; i < 90; ++i) {
    one.prompt.push_back(
        static_cast<int32_t>(generator() % static_cast<uint32_t>(cluster.value()->config().vocab)));
  }
  one.greedy.resize(3);
  const Sequence sequence = golden_sequence(one, true);
  const Sequence whole = among(*cluster.value(), sequence, 0, 0, 90, 0);
  for (const int32_t chunk : {9, 10, 15, 30, 45}) {
    expect_same(among(*cluster.value(), sequence, 0, 0, chunk, 0), whole,
                "chunks of " + std::to_string(chunk));
  }
}

}  // namespace
}  // namespace mimo::node::model_test
