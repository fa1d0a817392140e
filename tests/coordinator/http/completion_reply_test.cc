#include "coordinator/http/completion_reply.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "coordinator/http/api_error.h"

namespace mimo::http {
namespace {

using nlohmann::json;

CompletionCall call_of(int32_t num_prompts, int32_t num_outputs) {
  CompletionCall call;
  call.requests.resize(static_cast<size_t>(num_prompts));
  call.num_outputs = num_outputs;
  return call;
}

v1::GenerateResponse token(int32_t output_idx, const std::string& text) {
  v1::GenerateResponse message;
  message.mutable_token()->set_output_index(output_idx);
  message.mutable_token()->set_text(text);
  message.mutable_token()->add_tokens()->set_token(text);
  return message;
}

v1::GenerateResponse finished(int32_t output_idx, const std::string& text, int32_t tokens) {
  v1::GenerateResponse message;
  message.mutable_finished()->set_output_index(output_idx);
  message.mutable_finished()->set_reason(v1::FINISH_REASON_LENGTH);
  message.mutable_finished()->set_text(text);
  message.mutable_usage()->set_prompt_tokens(2);
  message.mutable_usage()->set_completion_tokens(tokens);
  return message;
}

TEST(CompletionReply, ChoicesAreOrderedByPromptThenOutput) {
  CompletionReply reply({}, call_of(2, 2));
  std::string out;
  reply.take(1, token(0, "c"), &out);
  reply.take(0, token(1, "b"), &out);
  reply.take(0, finished(0, "a", 1), &out);
  reply.take(0, finished(1, "", 2), &out);
  reply.take(1, finished(1, "d", 1), &out);
  reply.take(1, finished(0, "", 2), &out);
  EXPECT_EQ(out, "");

  reply.finish(&out);

  const json body = json::parse(out);
  std::string texts;
  for (const json& choice : body["choices"]) texts += choice["text"].get<std::string>();
  EXPECT_EQ(texts, "abcd");
  EXPECT_EQ(body["choices"][3]["finish_reason"], "length");
  EXPECT_EQ(body["usage"]["prompt_tokens"], 4);
  EXPECT_EQ(body["usage"]["completion_tokens"], 4);
  EXPECT_EQ(body["usage"]["total_tokens"], 8);
}

TEST(CompletionReply, AStreamTellsEachTextOnce) {
  ReplyFacts facts;
  facts.stream.stream = true;
  CompletionReply reply(facts, call_of(1, 1));
  std::string out;
  reply.take(0, token(0, "a"), &out);
  EXPECT_NE(out.find("\"text\":\"a\""), std::string::npos);
  out.clear();
  reply.take(0, token(0, ""), &out);
  EXPECT_EQ(out, "");
  reply.take(0, token(0, "b"), &out);
  EXPECT_NE(out.find("\"text\":\"b\""), std::string::npos);
  out.clear();
  reply.take(0, finished(0, "c", 3), &out);
  EXPECT_NE(out.find("\"text\":\"c\""), std::string::npos);
  EXPECT_NE(out.find("\"finish_reason\":\"length\""), std::string::npos);
}

TEST(ApiError, TheEnginesFieldsGetOpenAisNames) {
  const auto of = [](const char* message) { return api_error(invalid_argument(message)); };

  EXPECT_EQ(of("sampling.num_sequences = 0: expected [1, 64]").message, "n = 0: expected [1, 64]");
  EXPECT_EQ(of("sampling.num_sequences = 0: expected [1, 64]").param, "n");
  EXPECT_EQ(of("sampling.top_p = 2: expected (0, 1]").param, "top_p");
  EXPECT_EQ(of("stopping.stop_text[3] = 300 bytes: expected [1, 256]").param, "stop");
  EXPECT_EQ(of("text is empty: expected a prompt").message, "prompt is empty: expected a prompt");
  EXPECT_EQ(of("messages[1].role is empty").param, "messages[1].role");
  EXPECT_EQ(of("something else went wrong").param, "");
  EXPECT_EQ(of("the prompt = 9 tokens: expected at most 8").code, "context_length_exceeded");
}

TEST(ApiError, EveryStatusHasItsShape) {
  EXPECT_EQ(api_error(Error{Code::kResourceExhausted, "x"}).status, 429);
  EXPECT_EQ(api_error(Error{Code::kUnavailable, "x"}).status, 503);
  EXPECT_EQ(api_error(Error{Code::kAlreadyExists, "x"}).status, 409);
  EXPECT_EQ(api_error(Error{Code::kInternal, "x"}).status, 500);
  const json body = json::parse(error_body(bad_request("p", "m \"x\"")));
  EXPECT_EQ(body, json({{"error",
                         {{"message", "m \"x\""},
                          {"type", "invalid_request_error"},
                          {"param", "p"},
                          {"code", nullptr}}}}));
}

}  // namespace
}  // namespace mimo::http
