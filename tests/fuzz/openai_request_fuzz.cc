#include <cstddef>
#include <cstdint>
#include <string>

#include "coordinator/http/chat_request.h"
#include "coordinator/http/completion_reply.h"
#include "coordinator/http/completion_request.h"

namespace mimo::http {
namespace {

// The reply that the server makes room for, brought to its end: JSON, where it is one body.
void answer(const CompletionCall& call) {
  ReplyFacts facts;
  facts.stream = call.stream;
  facts.logprobs = call.logprobs;
  facts.bytes_max = 1 << 20;
  CompletionReply reply(facts, call);
  std::string out;
  for (int32_t prompt = 0; prompt < static_cast<int32_t>(call.requests.size()); ++prompt) {
    v1::GenerateResponse begun;
    begun.mutable_prompt();
    reply.take(prompt, std::move(begun), &out);
    for (int32_t k = 0; k < call.num_outputs; ++k) {
      v1::GenerateResponse token;
      token.mutable_token()->set_output_index(k);
      token.mutable_token()->set_text("a\"\n");
      token.mutable_token()->add_tokens()->set_logprob(-1.0f);
      reply.take(prompt, std::move(token), &out);
      v1::GenerateResponse finished;
      finished.mutable_finished()->set_output_index(k);
      reply.take(prompt, std::move(finished), &out);
    }
  }
  if (reply.overflowed()) return;
  reply.finish(&out);
  if (!reply.streamed() && !Json::accept(out)) __builtin_trap();
}

}  // namespace
}  // namespace mimo::http

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
  const auto no_completion = mimo::http::read_completion(json, {}, &completion);
  if (!no_completion && completion.requests.empty()) __builtin_trap();
  if (no_completion) mimo::http::error_body(*no_completion);
  if (!no_completion) mimo::http::answer(completion);
  return 0;
}
