#include <gtest/gtest.h>

#include "automaton_rules.h"
#include "harness.h"
#include "kernels/cuda/cuda_ops.h"

// Constraints on a GPU, where the step after is queued before the masks of its draws are known.
namespace mimo::node::model_test {
namespace {

#define SKIP_WITHOUT_GPU() \
  if (kernels::cuda::num_devices() == 0) GTEST_SKIP() << "no GPU here"

const std::string kFolder = checkpoint_folder("bf16-real-heads-window128");

std::unique_ptr<Cluster> gpu_cluster(bool record) {
  ClusterOptions options{.limits = test_limits(16)};
  options.make_ops = [record]() -> Result<std::unique_ptr<kernels::Ops>> {
    TRY_ASSIGN(auto ops, kernels::cuda::make_cuda_ops({.record = record}));
    return std::unique_ptr<kernels::Ops>(std::move(ops));
  };
  const int32_t vocab = checkpoint::Checkpoint::open(kFolder).value()->config().vocab;
  options.make_rules = [vocab] { return std::make_unique<AutomatonSource>(vocab); };
  return Cluster::create(kFolder, options).value();
}

// Eight sequences; `text` of sequence i by i % 4, "" for none.
std::vector<Sequence> sequences_of(const std::array<const char*, 4>& texts) {
  const std::vector<GoldenCase> cases = golden_cases(kFolder);
  std::vector<Sequence> sequences(8);
  for (size_t i = 0; i < sequences.size(); ++i) {
    Sequence& one = sequences[i];
    one.prompt = cases[i % cases.size()].prompt;
    one.num_outputs = 20 + static_cast<int32_t>(i);
    one.sampling.temperature = i % 3 == 0 ? 0.0f : 1.5f;
    one.sampling.seed = 60 + i;
    if (i % 2 == 1) one.sampling.num_logprobs = 4;
    if (texts[i % 4][0] != '\0') one.constraint = automaton_spec(texts[i % 4]);
  }
  return sequences;
}

void expect_same(const std::vector<Sequence>& a, const std::vector<Sequence>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].output_ids(), b[i].output_ids()) << "sequence " << i;
    for (size_t k = 0; k < a[i].outputs.size(); ++k) {
      ASSERT_EQ(a[i].outputs[k].logprob, b[i].outputs[k].logprob) << i << " output " << k;
      ASSERT_EQ(a[i].outputs[k].rank, b[i].outputs[k].rank) << i << " output " << k;
      ASSERT_TRUE(a[i].outputs[k].top == b[i].outputs[k].top) << i << " output " << k;
    }
  }
}

TEST(RankMasksCuda, RulesThatAllowEverythingChangeNoBit) {
  SKIP_WITHOUT_GPU();
  for (const bool record : {false, true}) {
    auto cluster = gpu_cluster(record);
    ASSERT_EQ(cluster->steps_in_flight_max(), 2);
    std::vector<Sequence> free = sequences_of({"", "", "", ""});
    std::vector<Sequence> bound = sequences_of({"mod 1", "", "mod 1", "mod 1"});

    generate(*cluster, free, 64);
    generate(*cluster, bound, 64);

    expect_same(bound, free);
  }
}

TEST(RankMasksCuda, DrawsObeyTheirRulesTheSameInEveryRun) {
  SKIP_WITHOUT_GPU();
  std::vector<Sequence> first;
  for (const bool record : {false, true, true}) {
    auto cluster = gpu_cluster(record);
    std::vector<Sequence> sequences = sequences_of({"mod 7", "", "mod 11", "mod 2"});

    generate(*cluster, sequences, 64);

    for (const Sequence& sequence : sequences) {
      EXPECT_EQ(sequence.rules_error.code, Code::kOk) << sequence.rules_error.to_string();
      if (sequence.constraint.kind == grammar::Spec::Kind::kNone) continue;
      Automaton automaton = Automaton::of(sequence.constraint.text, cluster->config().vocab);
      for (const int32_t id : sequence.output_ids()) {
        ASSERT_TRUE(automaton.allows(id)) << sequence.constraint.text << ": " << id;
        automaton.take(id);
      }
    }
    if (first.empty()) first = sequences;
    expect_same(sequences, first);
  }
}

TEST(RankMasksCuda, RulesThatFailEndTheirOwnDrawsAlone) {
  SKIP_WITHOUT_GPU();
  auto cluster = gpu_cluster(true);
  std::vector<Sequence> sequences = sequences_of({"mod 7", "stuck 5", "", "broken"});

  generate(*cluster, sequences, 64);

  for (size_t i = 0; i < sequences.size(); ++i) {
    const int32_t drawn = i % 4 == 1 ? 5 : i % 4 == 3 ? 0 : sequences[i].num_outputs;
    for (int32_t k = 0; k < sequences[i].num_outputs; ++k) {
      EXPECT_EQ(sequences[i].outputs[k].finite, k < drawn) << "sequence " << i << " output " << k;
    }
    EXPECT_EQ(sequences[i].rules_error.code, i % 4 == 1   ? Code::kInternal
                                             : i % 4 == 3 ? Code::kInvalidArgument
                                                          : Code::kOk);
  }
}

}  // namespace
}  // namespace mimo::node::model_test
