#include "kernels/cpu/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "kernels/cpu/select.h"
#include "kernels/cpu/simd.h"
#include "kernels/philox.h"

namespace mimo::kernels {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

}  // namespace

Sampler::Sampler(const SamplerInit& init) : params_(init.params) {
  const auto num_tokens = static_cast<int32_t>(init.tokens.size());
  CHECK(init.num_prompt >= 0 && init.num_prompt <= num_tokens);
  num_outputs_ = num_tokens - init.num_prompt;
  for (const auto& [id, bias] : params_.logit_bias) CHECK_GE(id, 0);
  for (const int32_t id : params_.stop_ids) CHECK_GE(id, 0);
  if (!penalizes()) return;
  for (int32_t i = 0; i < num_tokens; ++i) {
    Seen& seen = seen_[init.tokens[i]];
    if (i < init.num_prompt) {
      seen.before = true;
    } else {
      ++seen.outputs;
    }
  }
}

bool Sampler::penalizes() const {
  return params_.repetition_penalty != 1.0f || params_.presence_penalty != 0.0f ||
         params_.frequency_penalty != 0.0f;
}

void Sampler::count(int32_t id) {
  ++num_outputs_;
  if (penalizes()) ++seen_[id].outputs;
}

void Sampler::adjust(std::span<float> row, std::span<const uint32_t> mask) const {
  const auto size = static_cast<int32_t>(row.size());
  if (num_outputs_ < params_.min_tokens) {
    for (const int32_t id : params_.stop_ids) {
      if (id < size) row[id] = kNever;
    }
  }
  for (const auto& [id, bias] : params_.logit_bias) {
    if (id < size) row[id] += bias;
  }
  for (const auto& [id, seen] : seen_) {
    if (id < 0 || id >= size) continue;
    float& x = row[id];
    x = x > 0 ? x / params_.repetition_penalty : x * params_.repetition_penalty;
    if (seen.outputs == 0) continue;
    x -= params_.frequency_penalty * static_cast<float>(seen.outputs);
    x -= params_.presence_penalty;
  }
  for (int32_t id = 0; id < size && !mask.empty(); ++id) {
    if ((mask[id / 32] >> (id % 32) & 1) == 0) row[id] = kNever;
  }
}

int32_t Sampler::draw_from(std::span<const float> row, float max, int32_t position,
                           SamplerBuffers& buffers) const {
  // top_k and min_p each keep the greatest, so their order does not matter; top_k first leaves less
  // to do.
  const bool cut = params_.top_k > 0 && params_.top_k < static_cast<int64_t>(row.size());
  if (cut) {
    kept_ids(row, cut_by_count(row, params_.top_k), buffers.ids);
    buffers.kept.resize(buffers.ids.size());
    for (size_t i = 0; i < buffers.ids.size(); ++i) buffers.kept[i] = row[buffers.ids[i]];
    row = buffers.kept;
  }
  std::vector<float>& weights = buffers.weights;
  weights.resize(row.size());
  simd().exps(row.data(), static_cast<int64_t>(row.size()), max, 1.0f / params_.temperature,
              weights.data());
  if (params_.min_p > 0) {
    for (float& weight : weights) weight = weight < params_.min_p ? 0.0f : weight;
  }
  if (params_.top_p < 1.0f) {
    const double mass = double{params_.top_p} * sum(weights);
    keep(row, cut_by_mass(row, weights.data(), mass), weights.data());
  }
  const double uniform = philox_uniform(params_.seed, static_cast<uint64_t>(position));
  const int32_t drawn = draw(weights, uniform);
  return cut ? buffers.ids[drawn] : drawn;
}

DrawResult Sampler::choose(int32_t position, std::span<const uint32_t> mask,
                           SamplerBuffers& buffers, const Listed& listed) const {
  std::span<float> row(buffers.row);
  DrawResult result;
  RowSummary summary = summarize(row);
  result.finite = summary.finite ? 1 : 0;
  if (!summary.finite) return result;
  const bool described = params_.num_logprobs != -1;
  const bool adjusted = num_outputs_ < params_.min_tokens || !params_.logit_bias.empty() ||
                        !seen_.empty() || !mask.empty();
  if (described && adjusted) buffers.model.assign(row.begin(), row.end());
  const float model_max = summary.max;
  if (adjusted) {
    adjust(row, mask);
    summary = summarize(row);
    // Bias and masks may leave nothing that can be drawn.
    if (!std::isfinite(summary.max)) {
      result.finite = 0;
      return result;
    }
  }
  const bool greedy = params_.temperature < kGreedyTemperature;
  result.id = greedy ? index_of(row, summary.max) : draw_from(row, summary.max, position, buffers);
  if (described) {
    const std::span<const float> model = adjusted ? std::span<const float>(buffers.model) : row;
    describe(model, model_max, params_.num_logprobs, params_.raw_logits, buffers.weights, listed,
             result);
  }
  return result;
}

void describe(std::span<const float> row, float max, int32_t num_logprobs, bool raw_logits,
              std::vector<float>& buffer, const Listed& listed, DrawResult& result) {
  if (num_logprobs == -1) return;
  const double shift = raw_logits ? 0.0 : log_sum_exp(row, max, buffer);
  const auto shown = [&](float logit) { return static_cast<float>(logit - shift); };
  if (result.id >= 0) {
    result.logprob = shown(row[result.id]);
    result.rank = rank_of(row, result.id);
  }
  if (wants_full(num_logprobs)) {
    CHECK(listed.full != nullptr);
    for (size_t i = 0; i < row.size(); ++i) listed.full[i] = shown(row[i]);
    return;
  }
  CHECK_LE(num_logprobs, static_cast<int32_t>(listed.top.size()));
  const std::vector<TokenLogprob> top = best(row, num_logprobs);
  for (size_t i = 0; i < top.size(); ++i) listed.top[i] = {top[i].id, shown(top[i].logprob)};
}

}  // namespace mimo::kernels
