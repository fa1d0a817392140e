#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "harness.h"
#include "lockstep_report.h"
#include "lockstep_routing.h"

namespace mimo::node::model_test {

using OpsMaker = std::function<Result<std::unique_ptr<kernels::Ops>>()>;

OpsMaker cpu_maker(kernels::CpuMode mode);

// The logits behind each token of the prompt, [prompt, vocab]; empty where one is missing.
std::vector<float> prompt_logits(const Sequence& sequence, size_t vocab);

// Each case's logits of its prompt, where they are recorded (those ask for them when `all_logits`).
std::vector<std::vector<float>> run_cases(Cluster& cluster, const std::vector<GoldenCase>& cases,
                                          int32_t chunk, bool all_logits,
                                          std::vector<Sequence>& sequences);

// All rows' errors; infinite where logits are missing or not numbers.
OpErrors errors_to(const std::vector<std::vector<float>>& logits,
                   const std::vector<std::vector<float>>& want, size_t vocab);
std::vector<std::vector<float>> recorded_logits(const std::string& folder,
                                                const std::vector<GoldenCase>& cases);

// A checkpoint's prompts in float, and what its router chose for them.
struct Recorded {
  Routing routing;
  std::vector<GoldenCase> cases;  // those whose logits are recorded, without answers
  std::vector<std::vector<float>> logits;
  size_t vocab = 0;
};
Result<std::unique_ptr<Recorded>> record_routing(const std::string& folder);
// The prompts' logits through another backend that is told the recorded routes.
Result<std::vector<std::vector<float>>> forced_logits(const std::string& folder, Recorded& recorded,
                                                      const OpsMaker& make, int32_t page_tokens,
                                                      int32_t chunk);

}  // namespace mimo::node::model_test
