#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"
#include "coordinator/chat/tool_set.h"
#include "mimo/v1/chat.pb.h"

namespace mimo::chat {

// A request that has been checked, as its template sees it.
struct Conversation {
  // messages, tools, documents, add_generation_prompt and the request's own names: what
  // transformers' apply_chat_template() hands to a template, but for the special tokens.
  nlohmann::ordered_json context;
  ToolSet tools;  // those that the reply may call
};

// kInvalidArgument names the field, its value and what was expected.
Result<Conversation> read_conversation(const v1::ChatRequest& request);

}  // namespace mimo::chat
