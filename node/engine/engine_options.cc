#include <algorithm>
#include <limits>
#include <string>

#include "node/engine/engine.h"

namespace mimo::node {
namespace {

constexpr int32_t kInt32Max = std::numeric_limits<int32_t>::max();
// Positions, tokens and pages are added up in 32 bits; far below their end.
constexpr int32_t kCountMax = 1 << 28;

Result<void> between(const std::string& field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return invalid_argument(field + " is " + std::to_string(value) + ", expected " +
                          std::to_string(low) + " to " + std::to_string(high));
}

// low <= value <= high, which is what `expected` says; NaN is not.
Result<void> in_range(const std::string& field, float value, float low, float high,
                      const char* expected) {
  if (value >= low && value <= high) return {};
  return invalid_argument(field + " is " + std::to_string(value) + ", expected " + expected);
}

Result<void> check_kind(const char* field, const kvcache::KvSpec& spec, kvcache::KvKind kind) {
  if (spec.kind == kind) return {};
  return invalid_argument(std::string(field) + ".kind is " + kv_kind_name(spec.kind));
}

Result<void> check_ids(const std::string& field, const std::vector<int32_t>& ids, int32_t vocab) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab)
      return between(field + "[" + std::to_string(i) + "]", ids[i], 0, vocab - 1);
  }
  return {};
}

Result<void> check_sampling(const kernels::SamplingParams& p, int32_t vocab) {
  constexpr float kMax = std::numeric_limits<float>::max();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  TRY(in_range("temperature", p.temperature, 0, kMax, "0 or more"));
  TRY(in_range("top_p", p.top_p, kTiny, 1, "above 0 and at most 1"));
  TRY(between("top_k", p.top_k, 0, kInt32Max));
  TRY(in_range("min_p", p.min_p, 0, 1, "0 to 1"));
  TRY(in_range("repetition_penalty", p.repetition_penalty, kTiny, kMax, "above 0"));
  TRY(in_range("presence_penalty", p.presence_penalty, -kMax, kMax, "a finite number"));
  TRY(in_range("frequency_penalty", p.frequency_penalty, -kMax, kMax, "a finite number"));
  TRY(between("min_tokens", p.min_tokens, 0, kInt32Max));
  TRY(check_ids("stop_ids", p.stop_ids, vocab));
  for (const auto& [id, bias] : p.logit_bias) {
    TRY(between("logit_bias id", id, 0, vocab - 1));
    TRY(in_range("logit_bias of " + std::to_string(id), bias, -kMax, kMax, "a finite number"));
  }
  return between("num_logprobs", p.num_logprobs, kernels::kAllLogprobs, vocab);
}

// A constraint alone says where an output may end: it must be able to end there.
Result<void> check_constraint(const SequenceRequest& request, bool constraints) {
  if (request.constraint.kind == grammar::Spec::Kind::kNone) return {};
  if (!constraints)
    return Error{Code::kUnimplemented,
                 "constraint: the group has no tokenizer's vocabulary to hold outputs to one"};
  if (request.ignore_stop_ids || request.sampling.stop_ids.empty())
    return invalid_argument(
        "constraint: no stop id ends the sequence, expected the model's ends to");
  if (request.sampling.min_tokens > 0)
    return invalid_argument("min_tokens is " + std::to_string(request.sampling.min_tokens) +
                            ", expected 0 beside a constraint, which says where the end may come");
  return {};
}

Result<void> check_fit(const kvcache::KvSpec& spec, int32_t num_tokens, int32_t num_pages) {
  const int32_t needed = spec.pages_max(num_tokens);
  if (needed <= num_pages) return {};
  return invalid_argument("a sequence of " + std::to_string(num_tokens) + " tokens needs " +
                          std::to_string(needed) + " " + kv_kind_name(spec.kind) +
                          " pages, the pool has " + std::to_string(num_pages));
}

}  // namespace

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return "none";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kError:
      return "error";
  }
  return "?";
}

Result<void> Engine::Options::validate() const {
  TRY(between("sequences_max", sequences_max, 1, 1 << 20));
  TRY(between("waiting_max", waiting_max, 1, 1 << 20));
  TRY(between("prefill_chunk_min", prefill_chunk_min, 1, 1 << 20));
  // Beside the decode rows of all others there is always room for some chunk, however much is left.
  const int32_t others = sequences_max - 1;
  const int32_t chunk = 2 * prefill_chunk_min - 1;
  TRY(between("batch_tokens_max", batch_tokens_max, others + chunk, kCountMax));
  TRY(between("prefill_chunk_max", prefill_chunk_max, chunk, kCountMax));
  TRY(between("positions_max", positions_max, 2, kCountMax));
  TRY(between("vocab", vocab, 1, kInt32Max));
  if (!has_full && !has_window)
    return invalid_argument("has_full and has_window are false, expected layers of some kind");
  if (has_full) TRY(check_kind("full", full, kvcache::KvKind::kFull));
  if (has_window) TRY(check_kind("window", window, kvcache::KvKind::kWindow));
  return kvcache::KvStore::validate(kv());
}

kvcache::KvStore::Options Engine::Options::kv() const {
  kvcache::KvStore::Options options{.num_slots = sequences_max};
  if (has_full) options.pools.push_back({full, full_pages});
  if (has_window) options.pools.push_back({window, window_pages});
  return options;
}

Result<void> Engine::Options::check(const SequenceRequest& request) const {
  const auto num_prompt = static_cast<int64_t>(request.prompt.size());
  TRY(between("prompt's number of tokens", num_prompt, 1, positions_max - 1));
  TRY(check_ids("prompt", request.prompt, vocab));
  TRY(between("max_tokens", request.max_tokens, 1, kInt32Max));
  TRY(between("num_prompt_logprobs", request.num_prompt_logprobs, kernels::kAllLogprobs, vocab));
  TRY(check_sampling(request.sampling, vocab));
  TRY(check_constraint(request, constraints));
  // The last output is drawn and never read.
  const auto num_tokens =
      static_cast<int32_t>(std::min<int64_t>(num_prompt + request.max_tokens, positions_max) - 1);
  if (has_full) TRY(check_fit(full, num_tokens, full_pages));
  if (has_window) TRY(check_fit(window, num_tokens, window_pages));
  return {};
}

}  // namespace mimo::node
