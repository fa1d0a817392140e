#include "node/model/sampling_check.h"

#include <cmath>
#include <string>

namespace mimo::node {
namespace {

Result<void> require(bool good, const char* field, double value, const char* expected) {
  if (good) return {};
  return invalid_argument(std::string(field) + " is " + std::to_string(value) + ", expected " +
                          expected);
}

Result<void> require_at_most(size_t count, int32_t count_max, const char* field) {
  if (count <= static_cast<size_t>(count_max)) return {};
  return invalid_argument(std::string(field) + " has " + std::to_string(count) +
                          " entries, expected at most " + std::to_string(count_max));
}

}  // namespace

Result<void> check_sampling(const kernels::SamplingParams& p) {
  TRY(require(std::isfinite(p.temperature) && p.temperature >= 0, "temperature", p.temperature,
              "a finite number from 0"));
  TRY(require(p.top_p > 0 && p.top_p <= 1, "top_p", p.top_p, "above 0, at most 1"));
  TRY(require(p.top_k >= 0, "top_k", p.top_k, "at least 0"));
  TRY(require(p.min_p >= 0 && p.min_p <= 1, "min_p", p.min_p, "0 to 1"));
  TRY(require(std::isfinite(p.repetition_penalty) && p.repetition_penalty > 0, "repetition_penalty",
              p.repetition_penalty, "a finite number above 0"));
  TRY(require(std::isfinite(p.presence_penalty), "presence_penalty", p.presence_penalty,
              "a finite number"));
  TRY(require(std::isfinite(p.frequency_penalty), "frequency_penalty", p.frequency_penalty,
              "a finite number"));
  TRY(require(p.min_tokens >= 0, "min_tokens", p.min_tokens, "at least 0"));
  TRY(require(p.num_logprobs >= kernels::kAllLogprobs, "num_logprobs", p.num_logprobs,
              "-2 (all), -1 (none) or a count"));
  TRY(require_at_most(p.stop_ids.size(), kernels::kStopIdsMax, "stop_ids"));
  TRY(require_at_most(p.logit_bias.size(), kernels::kBiasedIdsMax, "logit_bias"));
  for (const auto& [id, bias] : p.logit_bias) {
    TRY(require(!std::isnan(bias), "logit_bias", bias, "a number"));
  }
  return {};
}

}  // namespace mimo::node
