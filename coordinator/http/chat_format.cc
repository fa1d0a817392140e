#include "coordinator/http/chat_format.h"

#include "coordinator/http/json_text.h"

namespace mimo::http {
namespace {

const char* finish_reason(v1::ChatFinished::Reason reason) {
  switch (reason) {
    case v1::ChatFinished::LENGTH:
      return "length";
    case v1::ChatFinished::CANCELLED:
      return "abort";
    case v1::ChatFinished::TOOL_CALLS:
      return "tool_calls";
    default:
      return "stop";
  }
}

void append_bytes(const ReplyFacts& facts, int32_t id, const std::string& text, std::string* out) {
  std::string_view bytes = text;
  if (facts.tokenizer != nullptr) bytes = facts.tokenizer->token_bytes(id);
  *out += '[';
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) *out += ',';
    append_number(int64_t{static_cast<uint8_t>(bytes[i])}, out);
  }
  *out += ']';
}

// "token", "logprob" and "bytes", the object left open.
void open_entry(const ReplyFacts& facts, int32_t id, const std::string& text, float logprob,
                std::string* out) {
  *out += "{\"token\":";
  append_quoted(text, out);
  *out += ",\"logprob\":";
  append_number(logprob, out);
  *out += ",\"bytes\":";
  append_bytes(facts, id, text, out);
}

void append_logprobs(const ReplyFacts& facts, const v1::ChatDelta& delta, std::string* out) {
  for (int i = 0; i < delta.tokens_size(); ++i) {
    const v1::TokenInfo& token = delta.tokens(i);
    if (i > 0) *out += ',';
    open_entry(facts, token.token_id(), token.token(), token.logprob(), out);
    *out += ",\"top_logprobs\":[";
    for (int k = 0; k < token.candidates_size(); ++k) {
      const v1::Candidate& candidate = token.candidates(k);
      if (k > 0) *out += ',';
      open_entry(facts, candidate.token_id(), candidate.token(), candidate.logprob(), out);
      *out += '}';
    }
    *out += "]}";
  }
}

void append_member(const char* name, const std::string& value, bool* first, std::string* out) {
  if (!*first) *out += ',';
  *first = false;
  *out += '"';
  *out += name;
  *out += "\":";
  append_quoted(value, out);
}

void append_call_delta(const v1::ToolCallDelta& call, std::string* out) {
  *out += "{\"index\":";
  append_number(int64_t{call.index()}, out);
  if (!call.id().empty()) {
    *out += ",\"id\":";
    append_quoted(call.id(), out);
    *out += ",\"type\":\"function\"";
  }
  *out += ",\"function\":{";
  bool first = true;
  if (!call.name().empty()) append_member("name", call.name(), &first, out);
  append_member("arguments", call.arguments(), &first, out);
  *out += "}}";
}

bool says_nothing(const v1::ChatDelta& delta) {
  return delta.content().empty() && delta.reasoning_content().empty() &&
         delta.tool_calls().empty() && delta.tokens().empty();
}

}  // namespace

// --- Events ------------------------------------------------------------------------------------

ChatChunks::ChatChunks(ReplyFacts facts)
    : facts_(std::move(facts)), head_("data: " + reply_head(facts_, "chat.completion.chunk")) {}

void ChatChunks::open_chunk(int32_t output_idx, std::string* out) const {
  *out += head_;
  *out += "{\"index\":";
  append_number(int64_t{output_idx}, out);
  *out += ",\"delta\":{";
}

// Behind the choice.
void ChatChunks::close_chunk(std::string* out) const {
  *out += ']';
  if (facts_.stream.continuous_usage) {
    *out += ",\"usage\":";
    append_usage(usage_, out);
  } else if (facts_.stream.include_usage) {
    *out += ",\"usage\":null";
  }
  *out += "}\n\n";
}

void ChatChunks::begin_output(int32_t output_idx, std::string* out) {
  bool& begun = begun_[output_idx];
  if (begun) return;
  begun = true;
  open_chunk(output_idx, out);
  *out += "\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}";
  close_chunk(out);
}

void ChatChunks::put_delta(const v1::ChatDelta& delta, std::string* out) {
  begin_output(delta.output_index(), out);
  usage_.set_completion_tokens(usage_.completion_tokens() + delta.num_tokens());
  usage_.set_total_tokens(usage_.prompt_tokens() + usage_.completion_tokens());
  if (says_nothing(delta)) return;
  open_chunk(delta.output_index(), out);
  bool first = true;
  if (!delta.reasoning_content().empty())
    append_member("reasoning_content", delta.reasoning_content(), &first, out);
  if (!delta.content().empty()) append_member("content", delta.content(), &first, out);
  if (!delta.tool_calls().empty()) {
    *out += first ? "\"tool_calls\":[" : ",\"tool_calls\":[";
    for (int i = 0; i < delta.tool_calls_size(); ++i) {
      if (i > 0) *out += ',';
      append_call_delta(delta.tool_calls(i), out);
    }
    *out += ']';
  }
  *out += "},\"logprobs\":";
  if (facts_.logprobs) {
    *out += "{\"content\":[";
    append_logprobs(facts_, delta, out);
    *out += "]}";
  } else {
    *out += "null";
  }
  *out += ",\"finish_reason\":null}";
  close_chunk(out);
}

void ChatChunks::put_end(const v1::ChatFinished& finished, std::string* out) {
  v1::ChatDelta last = finished.last();
  last.set_output_index(finished.output_index());
  put_delta(last, out);
  open_chunk(finished.output_index(), out);
  *out += "},\"logprobs\":null,\"finish_reason\":\"";
  *out += finish_reason(finished.reason());
  *out += "\",\"stop_reason\":";
  append_stop_reason(facts_, finished, out);
  *out += '}';
  close_chunk(out);
}

void ChatChunks::take(const v1::ChatResponse& event, std::string* out) {
  if (event.has_delta()) return put_delta(event.delta(), out);
  if (event.has_finished()) put_end(event.finished(), out);
  if (event.has_usage()) usage_ = event.usage();
}

void ChatChunks::finish(std::string* out) {
  if (facts_.stream.include_usage) {
    *out += head_;
    *out += "],\"usage\":";
    append_usage(usage_, out);
    *out += "}\n\n";
  }
  *out += kStreamEnd;
}

// --- One body ----------------------------------------------------------------------------------

void ChatBody::take_delta(const v1::ChatDelta& delta) {
  if (overflowed()) return;
  Choice& choice = choices_[delta.output_index()];
  num_bytes_ += static_cast<int64_t>(delta.content().size() + delta.reasoning_content().size());
  choice.content += delta.content();
  choice.reasoning += delta.reasoning_content();
  for (const v1::ToolCallDelta& call : delta.tool_calls()) {
    const auto idx = static_cast<size_t>(call.index());
    if (idx >= choice.calls.size()) choice.calls.resize(idx + 1);
    v1::ToolCallDelta& whole = choice.calls[idx];
    if (!call.id().empty()) whole.set_id(call.id());
    if (!call.name().empty()) whole.set_name(call.name());
    whole.mutable_arguments()->append(call.arguments());
    num_bytes_ += static_cast<int64_t>(call.ByteSizeLong());
  }
  if (!facts_.logprobs || delta.tokens().empty()) return;
  if (!choice.logprobs.empty()) choice.logprobs += ',';
  const size_t before = choice.logprobs.size();
  append_logprobs(facts_, delta, &choice.logprobs);
  num_bytes_ += static_cast<int64_t>(choice.logprobs.size() - before);
}

void ChatBody::take(const v1::ChatResponse& event, std::string*) {
  if (event.has_delta()) take_delta(event.delta());
  if (event.has_finished()) {
    v1::ChatDelta last = event.finished().last();
    last.set_output_index(event.finished().output_index());
    take_delta(last);
    choices_[event.finished().output_index()].finished = event.finished();
  }
  if (event.has_usage()) usage_ = event.usage();
}

void ChatBody::append_choice(int32_t output_idx, const Choice& choice, std::string* out) const {
  *out += "{\"index\":";
  append_number(int64_t{output_idx}, out);
  *out += ",\"message\":{\"role\":\"assistant\",\"content\":";
  if (choice.content.empty() && !choice.calls.empty()) {
    *out += "null";
  } else {
    append_quoted(choice.content, out);
  }
  *out += ",\"refusal\":null";
  bool first = false;
  if (!choice.reasoning.empty()) append_member("reasoning_content", choice.reasoning, &first, out);
  if (!choice.calls.empty()) *out += ",\"tool_calls\":[";
  for (size_t i = 0; i < choice.calls.size(); ++i) {
    const v1::ToolCallDelta& call = choice.calls[i];
    *out += i > 0 ? ",{\"id\":" : "{\"id\":";
    append_quoted(call.id(), out);
    *out += ",\"type\":\"function\",\"function\":{\"name\":";
    append_quoted(call.name(), out);
    *out += ",\"arguments\":";
    append_quoted(call.arguments(), out);
    *out += "}}";
  }
  if (!choice.calls.empty()) *out += ']';
  *out += "},\"logprobs\":";
  *out += facts_.logprobs ? "{\"content\":[" + choice.logprobs + "]}" : "null";
  *out += ",\"finish_reason\":\"";
  *out += finish_reason(choice.finished.reason());
  *out += "\",\"stop_reason\":";
  append_stop_reason(facts_, choice.finished, out);
  *out += '}';
}

void ChatBody::finish(std::string* out) {
  *out += reply_head(facts_, "chat.completion");
  bool first = true;
  for (const auto& [output_idx, choice] : choices_) {
    if (!first) *out += ',';
    first = false;
    append_choice(output_idx, choice, out);
  }
  *out += "],\"usage\":";
  append_usage(usage_, out);
  *out += '}';
}

}  // namespace mimo::http
