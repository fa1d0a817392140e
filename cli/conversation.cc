#include "cli/conversation.h"

#include "base/check.h"

namespace mimo::cli {

Conversation::Conversation(v1::ChatRequest settings, std::string system)
    : settings_(std::move(settings)), system_(std::move(system)) {}

void Conversation::set_temperature(std::optional<float> value) {
  settings_.mutable_sampling()->clear_temperature();
  if (value) settings_.mutable_sampling()->set_temperature(*value);
}

const v1::ToolCall* Conversation::open_call() const {
  int32_t last = messages_.size() - 1;
  while (last >= 0 && messages_[last].role() == "tool") --last;
  if (last < 0 || messages_[last].tool_calls().empty()) return nullptr;
  const int32_t num_results = messages_.size() - 1 - last;
  const auto& calls = messages_[last].tool_calls();
  return num_results < calls.size() ? &calls[num_results] : nullptr;
}

void Conversation::say(const std::string& text) {
  v1::ChatMessage message;
  message.set_content(text);
  message.set_role("user");
  if (const v1::ToolCall* call = open_call()) {
    message.set_role("tool");
    message.set_tool_call_id(call->id());
    message.set_name(call->name());
  }
  *messages_.Add() = std::move(message);
}

v1::ChatRequest Conversation::request() const {
  CHECK(open_call() == nullptr);
  v1::ChatRequest request = settings_;
  if (!system_.empty()) {
    v1::ChatMessage& message = *request.add_messages();
    message.set_role("system");
    message.set_content(system_);
  }
  for (const v1::ChatMessage& message : messages_) *request.add_messages() = message;
  return request;
}

void Conversation::answered(const v1::ChatMessage& reply) {
  *messages_.Add() = reply;
  messages_.rbegin()->set_role("assistant");
}

void Conversation::withdraw() {
  while (!messages_.empty() && messages_.rbegin()->role() == "user") messages_.RemoveLast();
}

Result<void> add_delta(const v1::ChatDelta& delta, v1::ChatMessage& reply) {
  v1::ChatMessage next = reply;
  next.mutable_content()->append(delta.content());
  next.mutable_reasoning_content()->append(delta.reasoning_content());
  for (const v1::ToolCallDelta& part : delta.tool_calls()) {
    if (part.index() < 0 || part.index() > next.tool_calls_size()) {
      return internal_error("the server sent a part of tool call " + std::to_string(part.index()) +
                            " after " + std::to_string(next.tool_calls_size()) + " calls");
    }
    if (part.index() == next.tool_calls_size()) next.add_tool_calls();
    v1::ToolCall& call = *next.mutable_tool_calls(part.index());
    if (!part.id().empty()) call.set_id(part.id());
    if (!part.name().empty()) call.set_name(part.name());
    call.mutable_arguments()->append(part.arguments());
  }
  reply = std::move(next);
  return {};
}

}  // namespace mimo::cli
