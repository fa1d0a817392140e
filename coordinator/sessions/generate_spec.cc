#include "coordinator/sessions/generate_spec.h"

#include <cmath>
#include <sstream>
#include <string_view>

#include "coordinator/text/utf8.h"

namespace mimo::coordinator {
namespace {

constexpr int32_t kAllLogprobs = -2;  // Submit.num_logprobs: every token of the vocabulary

template <typename Value>
Error bad_field(std::string_view field, const Value& value, const std::string& expected) {
  std::ostringstream out;
  out << field << " = " << value << ": expected " << expected;
  return invalid_argument(out.str());
}

template <typename Number>
std::string interval(Number low, Number high, bool low_open = false) {
  std::ostringstream out;
  out << (low_open ? "(" : "[") << low << ", " << high << "]";
  return out.str();
}

// NaN is in no interval: it is refused like any other value outside.
Result<void> check_float(std::string_view field, float value, float low, float high,
                         bool low_open = false) {
  const bool inside = (low_open ? value > low : value >= low) && value <= high;
  if (!inside) return bad_field(field, value, interval(low, high, low_open));
  return {};
}

Result<void> check_int(std::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) return bad_field(field, value, interval(low, high));
  return {};
}

Result<void> check_id(const std::string& field, int32_t id, const RequestLimits& limits) {
  if (id < 0 || id >= limits.vocab_limit)
    return bad_field(field, id, "[0, " + std::to_string(limits.vocab_limit) + ")");
  return {};
}

Result<void> check_positions(int64_t num_prompt, const RequestLimits& limits) {
  if (num_prompt < limits.positions_max) return {};
  return bad_field("the prompt", std::to_string(num_prompt) + " tokens",
                   "at most " + std::to_string(limits.positions_max - 1) + ": the model has " +
                       std::to_string(limits.positions_max) + " positions");
}

std::string element(std::string_view field, int idx) {
  return std::string(field) + "[" + std::to_string(idx) + "]";
}

Error unsupported(std::string message) { return {Code::kUnimplemented, std::move(message)}; }

Result<void> parse_input(const v1::GenerateRequest& request, const RequestLimits& limits,
                         GenerateSpec* spec) {
  switch (request.input_case()) {
    case v1::GenerateRequest::kText:
      if (!limits.has_tokenizer)
        return unsupported("text: this server has no tokenizer, expected token_ids");
      if (request.text().empty()) return invalid_argument("text is empty: expected a prompt");
      if (static_cast<int64_t>(request.text().size()) > limits.prompt_bytes_max)
        return bad_field("text", std::to_string(request.text().size()) + " bytes",
                         "at most " + std::to_string(limits.prompt_bytes_max));
      spec->is_text = true;
      spec->text = request.text();
      return {};
    case v1::GenerateRequest::kTokenIds: {
      const auto& ids = request.token_ids().ids();
      if (ids.empty()) return invalid_argument("token_ids is empty: expected a prompt");
      TRY(check_positions(ids.size(), limits));
      for (int i = 0; i < ids.size(); ++i) {
        const bool inside = ids[i] >= 0 && ids[i] < limits.vocab_limit;
        if (!inside) return check_id(element("token_ids.ids", i), ids[i], limits);
      }
      spec->prompt.assign(ids.begin(), ids.end());
      return {};
    }
    case v1::GenerateRequest::INPUT_NOT_SET:
      break;
  }
  return invalid_argument("input is not set: expected text or token_ids");
}

Result<void> parse_sampling(const v1::Sampling& sampling, const RequestLimits& limits,
                            uint64_t fresh_seed, GenerateSpec* spec) {
  v1::Submit& submit = spec->submit;
  submit.set_temperature(sampling.has_temperature() ? sampling.temperature() : limits.temperature);
  submit.set_top_p(sampling.has_top_p() ? sampling.top_p() : limits.top_p);
  submit.set_top_k(sampling.has_top_k() ? sampling.top_k() : limits.top_k);
  submit.set_min_p(sampling.min_p());
  submit.set_frequency_penalty(sampling.frequency_penalty());
  submit.set_presence_penalty(sampling.presence_penalty());
  submit.set_repetition_penalty(sampling.has_repetition_penalty() ? sampling.repetition_penalty()
                                                                  : 1.0f);
  spec->num_sequences = sampling.has_num_sequences() ? sampling.num_sequences() : 1;
  spec->seed = sampling.has_seed() ? sampling.seed() : fresh_seed;

  TRY(check_float("sampling.temperature", submit.temperature(), 0.0f, 100.0f));
  TRY(check_float("sampling.top_p", submit.top_p(), 0.0f, 1.0f, /*low_open=*/true));
  TRY(check_int("sampling.top_k", submit.top_k(), 0, INT32_MAX));
  TRY(check_float("sampling.min_p", submit.min_p(), 0.0f, 1.0f));
  TRY(check_float("sampling.frequency_penalty", submit.frequency_penalty(), -2.0f, 2.0f));
  TRY(check_float("sampling.presence_penalty", submit.presence_penalty(), -2.0f, 2.0f));
  TRY(check_float("sampling.repetition_penalty", submit.repetition_penalty(), 0.0f, 10.0f,
                  /*low_open=*/true));
  TRY(check_int("sampling.num_sequences", spec->num_sequences, 1, limits.num_sequences_max));

  if (sampling.logit_bias_size() > limits.logit_bias_max)
    return bad_field("sampling.logit_bias", std::to_string(sampling.logit_bias_size()) + " ids",
                     "at most " + std::to_string(limits.logit_bias_max));
  for (const auto& [id, bias] : sampling.logit_bias()) {
    TRY(check_id("sampling.logit_bias's id", id, limits));
    TRY(check_float("sampling.logit_bias[" + std::to_string(id) + "]", bias, -100.0f, 100.0f));
    (*submit.mutable_logit_bias())[id] = bias;
  }
  return {};
}

Result<void> parse_stop_texts(const v1::Stopping& stopping, const RequestLimits& limits,
                              GenerateSpec* spec) {
  const auto& texts = stopping.stop_text();
  if (texts.empty()) return {};
  if (!limits.has_tokenizer)
    return unsupported(
        "stopping.stop_text: this server has no tokenizer, expected "
        "stopping.stop_token_ids");
  if (texts.size() > limits.stop_texts_max)
    return bad_field("stopping.stop_text", std::to_string(texts.size()) + " texts",
                     "at most " + std::to_string(limits.stop_texts_max));
  for (int i = 0; i < texts.size(); ++i) {
    const auto size = static_cast<int64_t>(texts[i].size());
    if (size < 1 || size > limits.stop_text_bytes_max)
      return bad_field(element("stopping.stop_text", i), std::to_string(size) + " bytes",
                       interval(1, limits.stop_text_bytes_max));
  }
  spec->stop_texts.assign(texts.begin(), texts.end());
  return {};
}

Result<void> parse_stopping(const v1::Stopping& stopping, const RequestLimits& limits,
                            GenerateSpec* spec) {
  const int32_t max_tokens_max =
      limits.max_tokens_max > 0 ? limits.max_tokens_max : limits.positions_max;
  if (stopping.has_max_tokens())
    TRY(check_int("stopping.max_tokens", stopping.max_tokens(), 1, max_tokens_max));
  const int32_t min_bound =
      stopping.has_max_tokens() ? stopping.max_tokens() : limits.positions_max;
  TRY(check_int("stopping.min_tokens", stopping.min_tokens(), 0, min_bound));
  TRY(parse_stop_texts(stopping, limits, spec));

  const auto& stop_ids = stopping.stop_token_ids();
  if (stop_ids.size() > limits.stop_ids_max)
    return bad_field("stopping.stop_token_ids", std::to_string(stop_ids.size()) + " ids",
                     "at most " + std::to_string(limits.stop_ids_max));
  for (int i = 0; i < stop_ids.size(); ++i)
    TRY(check_id(element("stopping.stop_token_ids", i), stop_ids[i], limits));

  spec->max_tokens = stopping.max_tokens();
  spec->min_tokens = stopping.min_tokens();
  spec->include_stop = stopping.include_stop_in_output();
  spec->submit.set_min_tokens(spec->min_tokens);
  // ignore_eos leaves the request's own ids in force, which ignore_stop_ids would not.
  if (!stopping.ignore_eos())
    spec->submit.mutable_stop_ids()->Add(limits.eos_ids.begin(), limits.eos_ids.end());
  spec->submit.mutable_stop_ids()->Add(stop_ids.begin(), stop_ids.end());
  return {};
}

Result<void> check_bytes(std::string_view field, size_t size, int64_t low, int64_t high) {
  const auto bytes = static_cast<int64_t>(size);
  if (bytes < low || bytes > high)
    return bad_field(field, std::to_string(bytes) + " bytes", interval(low, high));
  return {};
}

Result<void> check_choices(const v1::Choices& choices, const RequestLimits& limits) {
  if (choices.texts().empty() || choices.texts_size() > limits.constraint_choices_max)
    return bad_field("constraint.choice.texts", std::to_string(choices.texts_size()) + " texts",
                     interval(1, limits.constraint_choices_max));
  size_t bytes = 0;
  for (const std::string& text : choices.texts()) bytes += text.size();
  return check_bytes("constraint.choice.texts", bytes, 1, limits.constraint_bytes_max);
}

Result<void> check_kind(const v1::Constraint& constraint, const RequestLimits& limits) {
  const auto text = [&](const char* field, const std::string& value) {
    return check_bytes(field, value.size(), 1, limits.constraint_bytes_max);
  };
  switch (constraint.kind_case()) {
    case v1::Constraint::kJsonSchema:
      return text("constraint.json_schema", constraint.json_schema());
    case v1::Constraint::kJsonObject:
      if (constraint.json_object()) return {};
      return bad_field("constraint.json_object", "false", "true, or no constraint");
    case v1::Constraint::kRegex:
      return text("constraint.regex", constraint.regex());
    case v1::Constraint::kChoice:
      return check_choices(constraint.choice(), limits);
    case v1::Constraint::kGrammar:
      return text("constraint.grammar", constraint.grammar());
    case v1::Constraint::kStructuralTag:
      return text("constraint.structural_tag", constraint.structural_tag());
    case v1::Constraint::KIND_NOT_SET:
      break;
  }
  return invalid_argument("constraint.free_until is set: expected a constraint beside it");
}

// Whether it compiles is the leader's to find out. A stop text or id may end the output earlier
// than the constraint does, which is the client's wish; that the model's ends do not count, or not
// yet, would leave the constraint without an end.
Result<void> parse_constraint(const v1::GenerateRequest& request, const RequestLimits& limits,
                              GenerateSpec* spec) {
  const v1::Constraint& constraint = request.constraint();
  const bool is_set = constraint.kind_case() != v1::Constraint::KIND_NOT_SET;
  if (!is_set && constraint.free_until().empty()) return {};
  TRY(check_kind(constraint, limits));
  TRY(check_bytes("constraint.free_until", constraint.free_until().size(), 0,
                  limits.free_until_bytes_max));
  if (!limits.has_tokenizer)
    return unsupported("constraint: this server has no tokenizer, which it is made of");
  if (limits.eos_ids.empty())
    return unsupported("constraint: the model has no end, which a constraint comes to");
  if (request.stopping().ignore_eos())
    return bad_field("stopping.ignore_eos", "true",
                     "false beside a constraint, which says where the end may come");
  if (request.stopping().min_tokens() > 0)
    return bad_field("stopping.min_tokens", request.stopping().min_tokens(),
                     "0 beside a constraint, which says where the end may come");
  *spec->submit.mutable_constraint() = constraint;
  return {};
}

Result<void> parse_response(const v1::ResponseOptions& response, const RequestLimits& limits,
                            GenerateSpec* spec) {
  TRY(check_int("response.output_candidates", response.output_candidates(), 0,
                limits.candidates_max));
  TRY(check_int("response.prompt_candidates", response.prompt_candidates(), 0,
                limits.candidates_max));
  spec->wants_all = response.all_candidates();
  if (!limits.allow_logits && (response.all_candidates() || response.raw_logits()))
    return unsupported(std::string("response.") +
                       (response.all_candidates() ? "all_candidates" : "raw_logits") +
                       ": needs a server that runs with debug.logits = true");
  if (spec->wants_all && (response.output_candidates() > 0 || response.prompt_candidates() > 0))
    return invalid_argument(
        "response.all_candidates = true: expected output_candidates and prompt_candidates of 0 or "
        "unset beside it");

  spec->include_special = response.include_special_tokens();
  spec->wants_logprobs = response.has_output_candidates() || spec->wants_all;
  spec->wants_prompt_scores = response.has_prompt_candidates();
  int32_t num_logprobs = response.has_output_candidates() ? response.output_candidates() : -1;
  if (spec->wants_prompt_scores)
    spec->num_prompt_logprobs = spec->wants_all ? kAllLogprobs : response.prompt_candidates();
  if (spec->wants_all) num_logprobs = kAllLogprobs;
  spec->submit.set_num_logprobs(num_logprobs);
  spec->submit.set_raw_logits(response.raw_logits());
  return {};
}

}  // namespace

Result<GenerateSpec> parse_request(const v1::GenerateRequest& request, const RequestLimits& limits,
                                   uint64_t fresh_seed) {
  GenerateSpec spec;
  spec.request_id = request.request_id();
  TRY(check_int("request_id's bytes", static_cast<int64_t>(spec.request_id.size()), 0,
                limits.request_id_bytes_max));
  if (!request.model().empty() && request.model() != limits.model)
    return Error{Code::kNotFound, "model = \"" +
                                      std::string(text::utf8_prefix(request.model(), 200)) +
                                      "\": expected \"" + limits.model + "\" or none"};
  TRY(parse_input(request, limits, &spec));
  TRY(parse_sampling(request.sampling(), limits, fresh_seed, &spec));
  TRY(parse_stopping(request.stopping(), limits, &spec));
  TRY(parse_response(request.response(), limits, &spec));
  TRY(parse_constraint(request, limits, &spec));
  return spec;
}

Result<void> check_prompt(const RequestLimits& limits, GenerateSpec* spec) {
  const auto num_prompt = static_cast<int64_t>(spec->prompt.size());
  if (num_prompt == 0) return invalid_argument("the prompt has no tokens: expected at least 1");
  TRY(check_positions(num_prompt, limits));
  const int64_t left = limits.positions_max - num_prompt;
  if (spec->max_tokens > left)
    return bad_field("stopping.max_tokens", spec->max_tokens,
                     "at most " + std::to_string(left) + ": the prompt's " +
                         std::to_string(num_prompt) + " tokens and the output share " +
                         std::to_string(limits.positions_max) + " positions");
  if (spec->min_tokens > left)
    return bad_field("stopping.min_tokens", spec->min_tokens, "at most " + std::to_string(left));
  if (spec->max_tokens == 0) {
    const int64_t most = limits.max_tokens_max > 0 ? limits.max_tokens_max : left;
    spec->max_tokens = static_cast<int32_t>(std::min(left, most));
    if (spec->min_tokens > spec->max_tokens)
      return bad_field("stopping.min_tokens", spec->min_tokens,
                       "at most " + std::to_string(spec->max_tokens));
  }
  if (!spec->wants_prompt_scores) return {};

  // The whole prompt's scores go in one message. A token's text and numbers take at most 48 bytes
  // nearly always; a value of all_candidates takes 4.
  const int64_t values = spec->num_prompt_logprobs < 0 ? limits.vocab_limit : 0;
  const int64_t each = 48 * (1 + std::max(spec->num_prompt_logprobs, 0)) + 4 * values;
  if (num_prompt * each > limits.message_bytes_max)
    return bad_field(
        "response.prompt_candidates",
        std::to_string(num_prompt) + " tokens of about " + std::to_string(each) + " bytes",
        "at most " + std::to_string(limits.message_bytes_max) + " bytes in all");
  return {};
}

}  // namespace mimo::coordinator
