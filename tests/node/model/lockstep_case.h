#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lockstep_logits.h"
#include "lockstep_ops.h"

namespace mimo::node::model_test {

constexpr const char* kCheckpoints[] = {
    "bf16-small-window",  "bf16-odd-widths", "bf16-real-heads-window128",
    "bf16-expert-groups", "fp8-real-heads",  "tiny",
};

// All of a checkpoint's recorded prompts in chunks, with every logit of them, and `num_outputs`
// decode steps of each (at most as many as are recorded), some with log-probabilities: each
// operation of the CPU's kDevice against that of `make`.
inline Lockstep run_lockstep(const std::string& name, int32_t page_tokens, int32_t chunk,
                             int32_t num_outputs, const OpsMaker& make) {
  Lockstep report;
  const std::string folder = checkpoint_folder(name);
  ClusterOptions options{.limits = test_limits(page_tokens)};
  options.num_pages = {page_tokens == 16 ? 208 : 64, page_tokens == 16 ? 208 : 64};
  options.make_ops = [&]() -> Result<std::unique_ptr<kernels::Ops>> {
    TRY_ASSIGN(auto first, cpu_maker(kernels::CpuMode::kDevice)());
    TRY_ASSIGN(auto second, make());
    return make_lockstep_ops(std::move(first), std::move(second), report);
  };
  auto cluster = Cluster::create(folder, options);
  EXPECT_TRUE(cluster.ok()) << cluster.error().to_string();
  if (!cluster.ok()) return report;
  std::vector<Sequence> sequences;
  for (const GoldenCase& one : golden_cases(folder)) {
    Sequence sequence = golden_sequence(one, false);
    sequence.num_outputs = std::min(sequence.num_outputs, num_outputs);
    if (!one.logits.empty()) sequence.num_prompt_logprobs = kernels::kAllLogprobs;
    if (sequences.size() % 2 == 1) sequence.sampling.num_logprobs = 5;
    sequences.push_back(sequence);
  }
  generate(*cluster.value(), sequences, chunk);
  return report;
}

}  // namespace mimo::node::model_test
