#include "lockstep_logits.h"

#include <limits>
#include <utility>

namespace mimo::node::model_test {
namespace {

constexpr int32_t kWholePrompt = 400;

Result<std::unique_ptr<Cluster>> routed_cluster(const std::string& folder, Recorded& recorded,
                                                const OpsMaker& make, RoutingUse use,
                                                int32_t page_tokens) {
  ClusterOptions options{.limits = test_limits(page_tokens)};
  options.make_ops = [&]() -> Result<std::unique_ptr<kernels::Ops>> {
    TRY_ASSIGN(auto ops, make());
    return make_routing_ops(std::move(ops), recorded.routing, use);
  };
  return Cluster::create(folder, options);
}

}  // namespace

OpsMaker cpu_maker(kernels::CpuMode mode) {
  return [mode] { return kernels::make_cpu_ops({.mode = mode, .num_threads = 1}); };
}

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
  for (size_t i = 0; i < cases.size(); ++i) {
    if (!cases[i].logits.empty()) logits.push_back(prompt_logits(sequences[i], vocab));
  }
  return logits;
}

OpErrors errors_to(const std::vector<std::vector<float>>& logits,
                   const std::vector<std::vector<float>>& want, size_t vocab) {
  OpErrors errors;
  for (size_t i = 0; i < want.size(); ++i) {
    const std::vector<float> missing(want[i].size(), std::numeric_limits<float>::quiet_NaN());
    const bool there = i < logits.size() && logits[i].size() == want[i].size();
    errors.add_call(there ? logits[i] : missing, want[i], static_cast<int64_t>(vocab));
  }
  return errors;
}

std::vector<std::vector<float>> recorded_logits(const std::string& folder,
                                                const std::vector<GoldenCase>& cases) {
  std::vector<std::vector<float>> out;
  for (const GoldenCase& one : cases) {
    if (!one.logits.empty()) out.push_back(golden_logits(folder, one.logits));
  }
  return out;
}

Result<std::unique_ptr<Recorded>> record_routing(const std::string& folder) {
  auto recorded = std::make_unique<Recorded>();
  for (GoldenCase& one : golden_cases(folder)) {
    one.greedy.resize(1);
    if (!one.logits.empty()) recorded->cases.push_back(std::move(one));
  }
  recorded->logits = recorded_logits(folder, recorded->cases);
  TRY_ASSIGN(
      const auto cluster,
      routed_cluster(folder, *recorded, cpu_maker(kernels::CpuMode::kF32), RoutingUse::kKeep, 16));
  recorded->vocab = static_cast<size_t>(cluster->config().vocab);
  std::vector<Sequence> sequences;
  run_cases(*cluster, recorded->cases, kWholePrompt, false, sequences);
  return recorded;
}

Result<std::vector<std::vector<float>>> forced_logits(const std::string& folder, Recorded& recorded,
                                                      const OpsMaker& make, int32_t page_tokens,
                                                      int32_t chunk) {
  TRY_ASSIGN(const auto cluster,
             routed_cluster(folder, recorded, make, RoutingUse::kForce, page_tokens));
  std::vector<Sequence> sequences;
  return run_cases(*cluster, recorded.cases, chunk, true, sequences);
}

}  // namespace mimo::node::model_test
