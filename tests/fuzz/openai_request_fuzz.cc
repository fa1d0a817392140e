#include <cstddef>
#include <cstdint>
#include <string>

#include "coordinator/http/chat_request.h"
#include "coordinator/http/completion_request.h"

// A body from anybody: read or refused with a field's name or none, as chat and as completion.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string body(reinterpret_cast<const char*>(data), size);
  mimo::http::Json json;
  if (const auto refused = mimo::http::parse_body(body, &json)) {
    if (refused->status != 400 || refused->message.empty()) __builtin_trap();
    return 0;
  }
  mimo::http::ChatCall chat;
  const auto no_chat = mimo::http::read_chat(json, &chat);
  if (!no_chat && chat.request.messages().empty()) __builtin_trap();
  if (no_chat) mimo::http::error_body(*no_chat);
  mimo::http::CompletionCall completion;
  const auto no_completion = mimo::http::read_completion(json, &completion);
  if (!no_completion && completion.requests.empty()) __builtin_trap();
  if (no_completion) mimo::http::error_body(*no_completion);
  return 0;
}
