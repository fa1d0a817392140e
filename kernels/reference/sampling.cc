#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "kernels/reference/reference.h"

namespace mimo::kernels::reference {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

// Minimum length, bias, penalties.
std::vector<double> adjusted(std::span<const float> logits, const SamplerInit& init) {
  std::vector<double> x(logits.begin(), logits.end());
  const SamplingParams& p = init.params;
  const auto size = static_cast<int32_t>(x.size());
  const auto num_outputs = static_cast<int32_t>(init.tokens.size()) - init.num_prompt;
  for (const int32_t id : p.stop_ids) {
    if (num_outputs < p.min_tokens && id < size) x[id] = kNever;
  }
  for (const auto& [id, bias] : p.logit_bias) {
    if (id < size) x[id] += bias;
  }
  std::map<int32_t, int32_t> outputs;
  for (size_t i = 0; i < init.tokens.size(); ++i) {
    outputs[init.tokens[i]] += static_cast<int32_t>(i) >= init.num_prompt ? 1 : 0;
  }
  for (const auto& [id, count] : outputs) {
    if (id >= size) continue;
    x[id] = x[id] > 0 ? x[id] / p.repetition_penalty : x[id] * p.repetition_penalty;
    x[id] -= p.frequency_penalty * count + (count > 0 ? p.presence_penalty : 0.0f);
  }
  return x;
}

}  // namespace

std::vector<double> distribution(std::span<const float> logits, const SamplerInit& init,
                                 std::span<const uint32_t> mask) {
  const SamplingParams& p = init.params;
  std::vector<double> x = adjusted(logits, init);
  for (size_t id = 0; id < x.size() && !mask.empty(); ++id) {
    if ((mask[id / 32] >> (id % 32) & 1) == 0) x[id] = kNever;
  }
  std::vector<int32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return x[a] > x[b]; });
  std::vector<double> out(x.size(), 0.0);
  if (p.temperature < kGreedyTemperature) {
    out[order[0]] = 1;
    return out;
  }
  const double max = x[order[0]];
  std::vector<double> weights;  // in `order`
  for (const int32_t id : order) weights.push_back(std::exp((x[id] - max) / p.temperature));
  for (double& w : weights) w = w < p.min_p ? 0 : w;
  if (p.top_k > 0) {
    for (size_t i = static_cast<size_t>(p.top_k); i < weights.size(); ++i) weights[i] = 0;
  }
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double before = 0;
  for (double& w : weights) {
    const bool out_of_mass = p.top_p < 1.0f && before >= p.top_p * total && before > 0;
    before += w;
    if (out_of_mass) w = 0;
  }
  total = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (size_t i = 0; i < order.size(); ++i) out[order[i]] = weights[i] / total;
  return out;
}

std::vector<double> log_probabilities(std::span<const float> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float x : logits) total += std::exp(x - max);
  std::vector<double> out;
  for (const float x : logits) out.push_back(x - max - std::log(total));
  return out;
}

}  // namespace mimo::kernels::reference
