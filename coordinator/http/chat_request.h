#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/http/sampling_fields.h"
#include "mimo/v1/chat.pb.h"

namespace mimo::http {

// What a body of /v1/chat/completions asks for.
struct ChatCall {
  v1::ChatRequest request;
  StreamFields stream;
  bool logprobs = false;
  std::vector<std::string> ignored;  // fields that this server does not know
};
std::optional<ApiError> read_chat(const Json& body, ChatCall* call);

// Only what makes the prompt: model, messages, tools, chat_template_kwargs, reasoning_effort.
void read_conversation(Fields& fields, v1::ChatRequest* request);

}  // namespace mimo::http
