#include "coordinator/http/completion_reply.h"

#include "coordinator/http/json_text.h"

namespace mimo::http {
namespace {

const char* finish_reason(v1::FinishReason reason) {
  if (reason == v1::FINISH_REASON_LENGTH) return "length";
  return reason == v1::FINISH_REASON_CANCELLED ? "abort" : "stop";
}

// Of UTF-8: bytes that begin a character.
int64_t num_characters(const std::string& text) {
  int64_t count = 0;
  for (const char c : text) count += (static_cast<uint8_t>(c) & 0xc0) != 0x80;
  return count;
}

void comma(std::string* list) {
  if (!list->empty()) *list += ',';
}

std::vector<std::string> echoes_of(const CompletionCall& call, const text::Tokenizer* tokenizer) {
  std::vector<std::string> echoes(call.requests.size());
  if (!call.echo) return echoes;
  for (size_t i = 0; i < echoes.size(); ++i) {
    const v1::GenerateRequest& request = call.requests[i];
    if (request.has_text()) echoes[i] = request.text();
    const auto& ids = request.token_ids().ids();
    if (!request.has_text() && tokenizer != nullptr)
      echoes[i] = tokenizer->decode({ids.data(), static_cast<size_t>(ids.size())},
                                    /*skip_special=*/false);
  }
  return echoes;
}

}  // namespace

void CompletionReply::Logprobs::add(const v1::TokenInfo& token) {
  for (std::string* list : {&tokens, &values, &tops, &offsets}) comma(list);
  append_quoted(token.token(), &tokens);
  append_number(offset, &offsets);
  offset += num_characters(token.token());
  if (!token.has_logprob()) {
    values += "null";
    tops += "null";
    return;
  }
  append_number(token.logprob(), &values);
  tops += '{';
  bool has_drawn = false;
  for (int i = 0; i < token.candidates_size(); ++i) {
    const v1::Candidate& candidate = token.candidates(i);
    has_drawn |= candidate.token_id() == token.token_id();
    if (i > 0) tops += ',';
    append_quoted(candidate.token(), &tops);
    tops += ':';
    append_number(candidate.logprob(), &tops);
  }
  if (!has_drawn) {
    if (token.candidates_size() > 0) tops += ',';
    append_quoted(token.token(), &tops);
    tops += ':';
    append_number(token.logprob(), &tops);
  }
  tops += '}';
}

void CompletionReply::Logprobs::append_to(std::string* out) const {
  *out += "{\"text_offset\":[" + offsets + "],\"token_logprobs\":[" + values + "],\"tokens\":[" +
          tokens + "],\"top_logprobs\":[" + tops + "]}";
}

void CompletionReply::Logprobs::clear() {
  for (std::string* list : {&tokens, &values, &tops, &offsets}) list->clear();
}

CompletionReply::CompletionReply(ReplyFacts facts, const CompletionCall& call)
    : facts_(std::move(facts)),
      head_((streamed() ? "data: " : "") + reply_head(facts_, "text_completion")),
      num_outputs_(call.num_outputs),
      only_prompt_(call.only_prompt),
      echoes_(echoes_of(call, facts_.tokenizer)),
      choices_(call.requests.size() * static_cast<size_t>(call.num_outputs)),
      usages_(call.requests.size()) {}

void CompletionReply::add(const std::string& text, const Tokens& tokens, Choice* choice) {
  const size_t before = choice->logprobs.num_bytes();
  choice->text += text;
  if (facts_.logprobs)
    for (const v1::TokenInfo& token : tokens) choice->logprobs.add(token);
  num_bytes_ += static_cast<int64_t>(text.size() + choice->logprobs.num_bytes() - before);
}

CompletionReply::Choice& CompletionReply::choice_of(int32_t prompt_idx, int32_t output_idx) {
  return choices_[static_cast<size_t>(prompt_idx * num_outputs_ + output_idx)];
}

void CompletionReply::append_choice(size_t choice_idx, const Choice& choice, bool ends,
                                    std::string* out) const {
  *out += "{\"index\":";
  append_number(static_cast<int64_t>(choice_idx), out);
  *out += ",\"text\":";
  append_quoted(choice.text, out);
  *out += ",\"logprobs\":";
  if (facts_.logprobs) {
    choice.logprobs.append_to(out);
  } else {
    *out += "null";
  }
  *out += ",\"finish_reason\":";
  if (ends) {
    append_quoted(finish_reason(choice.finished.reason()), out);
    *out += ",\"stop_reason\":";
    append_stop_reason(facts_, choice.finished, out);
  } else {
    *out += "null";
  }
  *out += '}';
}

void CompletionReply::put_chunk(int32_t prompt_idx, int32_t output_idx, bool ends,
                                std::string* out) {
  if (!streamed()) return;
  Choice& choice = choice_of(prompt_idx, output_idx);
  if (!ends && choice.text.empty() && choice.logprobs.tokens.empty()) return;
  *out += head_;
  append_choice(static_cast<size_t>(prompt_idx * num_outputs_ + output_idx), choice, ends, out);
  *out += ']';
  if (facts_.stream.continuous_usage) {
    *out += ",\"usage\":";
    append_usage(usage(), out);
  } else if (facts_.stream.include_usage) {
    *out += ",\"usage\":null";
  }
  *out += "}\n\n";
  choice.text.clear();
  choice.logprobs.clear();
}

void CompletionReply::take_prompt(int32_t prompt_idx, const v1::PromptEvent& prompt,
                                  std::string* out) {
  const std::string& echo = echoes_[static_cast<size_t>(prompt_idx)];
  if (echo.empty() && prompt.tokens().empty()) return;
  for (int32_t k = 0; k < num_outputs_ && !overflowed(); ++k) {
    add(echo, prompt.tokens(), &choice_of(prompt_idx, k));
    put_chunk(prompt_idx, k, /*ends=*/false, out);
  }
}

void CompletionReply::take(int32_t prompt_idx, v1::GenerateResponse message, std::string* out) {
  if (streamed()) num_bytes_ = 0;
  if (overflowed()) return;
  v1::Usage& usage = usages_[static_cast<size_t>(prompt_idx)];
  if (message.has_usage()) usage = message.usage();
  if (message.has_prompt()) return take_prompt(prompt_idx, message.prompt(), out);
  if (message.has_token()) {
    if (only_prompt_) return;
    const v1::TokenEvent& event = message.token();
    add(event.text(), event.tokens(), &choice_of(prompt_idx, event.output_index()));
    usage.set_completion_tokens(usage.completion_tokens() + event.tokens_size());
    usage.set_total_tokens(usage.prompt_tokens() + usage.completion_tokens());
    put_chunk(prompt_idx, event.output_index(), /*ends=*/false, out);
  }
  if (!message.has_finished()) return;
  Choice& choice = choice_of(prompt_idx, message.finished().output_index());
  choice.finished = message.finished();
  if (!only_prompt_) add(message.finished().text(), {}, &choice);
  put_chunk(prompt_idx, message.finished().output_index(), /*ends=*/true, out);
}

v1::Usage CompletionReply::usage() const {
  v1::Usage sum;
  for (const v1::Usage& each : usages_) {
    sum.set_prompt_tokens(sum.prompt_tokens() + each.prompt_tokens());
    if (!only_prompt_)
      sum.set_completion_tokens(sum.completion_tokens() + each.completion_tokens());
    sum.set_cached_prompt_tokens(sum.cached_prompt_tokens() + each.cached_prompt_tokens());
    sum.set_reasoning_tokens(sum.reasoning_tokens() + each.reasoning_tokens());
  }
  sum.set_total_tokens(sum.prompt_tokens() + sum.completion_tokens());
  return sum;
}

void CompletionReply::finish(std::string* out) {
  if (streamed()) {
    if (facts_.stream.include_usage) {
      *out += head_ + "],\"usage\":";
      append_usage(usage(), out);
      *out += "}\n\n";
    }
    *out += kStreamEnd;
    return;
  }
  *out += head_;
  for (size_t i = 0; i < choices_.size(); ++i) {
    if (i > 0) *out += ',';
    append_choice(i, choices_[i], /*ends=*/true, out);
  }
  *out += "],\"usage\":";
  append_usage(usage(), out);
  *out += '}';
}

}  // namespace mimo::http
