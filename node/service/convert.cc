#include "node/service/convert.h"

namespace mimo::node {
namespace {

void fill(v1::Choice& out, const kernels::TokenChoice& choice) {
  out.set_id(choice.id);
  out.set_logprob(choice.logprob);
  out.set_rank(choice.rank);
  out.mutable_top_ids()->Reserve(static_cast<int>(choice.top.size()));
  out.mutable_top_logprobs()->Reserve(static_cast<int>(choice.top.size()));
  for (const kernels::TokenLogprob& top : choice.top) {
    out.add_top_ids(top.id);
    out.add_top_logprobs(top.logprob);
  }
}

void fill(v1::LeaderEvent& out, const SequenceEvent& event) {
  out.set_sequence_id(event.id.value);
  for (const kernels::TokenChoice& token : event.tokens) fill(*out.add_tokens(), token);
  out.set_prompt_begin(event.prompt_begin);
  for (const kernels::TokenChoice& score : event.prompt_scores) {
    fill(*out.add_prompt_scores(), score);
  }
  out.set_finish(static_cast<int32_t>(event.finish));
  out.set_stop_id(event.stop_id);
  out.set_error_code(static_cast<int32_t>(event.error.code));
  out.set_error_message(event.error.message);
}

grammar::Spec to_spec(const v1::Constraint& constraint) {
  using Kind = grammar::Spec::Kind;
  grammar::Spec spec;
  switch (constraint.kind_case()) {
    case v1::Constraint::kJsonSchema:
      spec = {.kind = Kind::kJsonSchema, .text = constraint.json_schema()};
      break;
    case v1::Constraint::kJsonObject:
      spec.kind = Kind::kJsonObject;
      break;
    case v1::Constraint::kRegex:
      spec = {.kind = Kind::kRegex, .text = constraint.regex()};
      break;
    case v1::Constraint::kChoice:
      spec.kind = Kind::kChoice;
      spec.choices.assign(constraint.choice().texts().begin(), constraint.choice().texts().end());
      break;
    case v1::Constraint::kGrammar:
      spec = {.kind = Kind::kGrammar, .text = constraint.grammar()};
      break;
    case v1::Constraint::kStructuralTag:
      spec = {.kind = Kind::kStructuralTag, .text = constraint.structural_tag()};
      break;
    case v1::Constraint::KIND_NOT_SET:
      return spec;
  }
  spec.free_until = constraint.free_until();
  return spec;
}

}  // namespace

SequenceRequest to_request(const v1::Submit& submit) {
  SequenceRequest request;
  request.id = SequenceId{submit.sequence_id()};
  request.prompt.assign(submit.prompt().begin(), submit.prompt().end());
  kernels::SamplingParams& sampling = request.sampling;
  sampling.temperature = submit.temperature();
  sampling.top_p = submit.top_p();
  sampling.top_k = submit.top_k();
  sampling.min_p = submit.min_p();
  sampling.repetition_penalty = submit.repetition_penalty();
  sampling.presence_penalty = submit.presence_penalty();
  sampling.frequency_penalty = submit.frequency_penalty();
  sampling.seed = submit.seed();
  sampling.min_tokens = submit.min_tokens();
  sampling.stop_ids.assign(submit.stop_ids().begin(), submit.stop_ids().end());
  sampling.logit_bias.assign(submit.logit_bias().begin(), submit.logit_bias().end());
  sampling.num_logprobs = submit.num_logprobs();
  sampling.raw_logits = submit.raw_logits();
  request.max_tokens = submit.max_tokens();
  request.ignore_stop_ids = submit.ignore_stop_ids();
  request.num_prompt_logprobs = submit.num_prompt_logprobs();
  request.constraint = to_spec(submit.constraint());
  return request;
}

v1::LeaderEvents to_proto(const std::vector<SequenceEvent>& events, int64_t step) {
  v1::LeaderEvents message;
  message.set_step(step);
  message.mutable_events()->Reserve(static_cast<int>(events.size()));
  for (const SequenceEvent& event : events) fill(*message.add_events(), event);
  return message;
}

v1::LeaderEvent refusal(int64_t sequence_id, const Error& error) {
  v1::LeaderEvent event;
  event.set_sequence_id(sequence_id);
  event.set_finish(static_cast<int32_t>(FinishReason::kError));
  event.set_stop_id(-1);
  event.set_error_code(static_cast<int32_t>(error.code));
  event.set_error_message(error.message);
  return event;
}

}  // namespace mimo::node
