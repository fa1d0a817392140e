#include "coordinator/http/chat_format.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "coordinator/http/json_text.h"

namespace mimo::http {
namespace {

using nlohmann::json;

ReplyFacts facts() {
  ReplyFacts facts;
  facts.id = "chatcmpl-1";
  facts.created = 17;
  facts.model = "m\"odel";
  facts.eos_ids = {9};
  return facts;
}

v1::ChatResponse delta(const std::string& content, int32_t output_idx = 0) {
  v1::ChatResponse event;
  event.mutable_delta()->set_output_index(output_idx);
  event.mutable_delta()->set_content(content);
  event.mutable_delta()->set_num_tokens(1);
  return event;
}

v1::ChatResponse finished(v1::ChatFinished::Reason reason, int32_t stop_id = -1) {
  v1::ChatResponse event;
  event.mutable_finished()->set_reason(reason);
  if (stop_id >= 0) event.mutable_finished()->set_stop_token_id(stop_id);
  event.mutable_usage()->set_prompt_tokens(3);
  event.mutable_usage()->set_completion_tokens(2);
  event.mutable_usage()->set_total_tokens(5);
  event.mutable_usage()->set_cached_prompt_tokens(1);
  event.mutable_usage()->set_reasoning_tokens(1);
  return event;
}

std::vector<json> chunks_of(const std::string& text) {
  std::vector<json> chunks;
  for (size_t at = 0; at < text.size();) {
    EXPECT_EQ(text.substr(at, 6), "data: ");
    const size_t end = text.find("\n\n", at);
    const std::string event = text.substr(at + 6, end - at - 6);
    if (event != "[DONE]") chunks.push_back(json::parse(event));
    at = end + 2;
  }
  return chunks;
}

TEST(ChatChunks, RoleFirstThenDeltasThenTheReason) {
  ChatChunks chunks(facts());
  std::string out;

  chunks.take(delta("a\n\"b\""), &out);
  chunks.take(finished(v1::ChatFinished::STOP, 9), &out);
  chunks.finish(&out);

  const auto all = chunks_of(out);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0]["object"], "chat.completion.chunk");
  EXPECT_EQ(all[0]["model"], "m\"odel");
  EXPECT_EQ(all[0]["created"], 17);
  EXPECT_EQ(all[0]["choices"][0]["delta"], json({{"role", "assistant"}, {"content", ""}}));
  EXPECT_EQ(all[1]["choices"][0]["delta"], json({{"content", "a\n\"b\""}}));
  EXPECT_TRUE(all[1]["choices"][0]["finish_reason"].is_null());
  EXPECT_TRUE(all[2]["choices"][0]["delta"].empty());
  EXPECT_EQ(all[2]["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(all[2]["choices"][0]["stop_reason"].is_null());  // the model's own end
  EXPECT_EQ(out.substr(out.size() - 14), "data: [DONE]\n\n");
}

TEST(ChatChunks, WhatIsCertainOnlyAtTheEndComesBeforeTheReason) {
  ChatChunks chunks(facts());
  std::string out;
  auto event = finished(v1::ChatFinished::STOP, 8);
  event.mutable_finished()->mutable_last()->set_content("z");

  chunks.take(event, &out);

  const auto all = chunks_of(out);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[1]["choices"][0]["delta"]["content"], "z");
  EXPECT_EQ(all[2]["choices"][0]["stop_reason"], 8);
}

TEST(ChatChunks, CallsComeInPieces) {
  ChatChunks chunks(facts());
  std::string out;
  v1::ChatResponse event;
  v1::ToolCallDelta* call = event.mutable_delta()->add_tool_calls();
  call->set_index(1);
  call->set_id("c");
  call->set_name("f");
  chunks.take(event, &out);
  call->clear_id();
  call->clear_name();
  call->set_arguments("{\"a\"");
  chunks.take(event, &out);

  const auto all = chunks_of(out);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[1]["choices"][0]["delta"]["tool_calls"][0],
            json({{"index", 1},
                  {"id", "c"},
                  {"type", "function"},
                  {"function", {{"name", "f"}, {"arguments", ""}}}}));
  EXPECT_EQ(all[2]["choices"][0]["delta"]["tool_calls"][0],
            json({{"index", 1}, {"function", {{"arguments", "{\"a\""}}}}));
}

TEST(ChatBody, PutsAllTogether) {
  ChatBody body(facts());
  std::string out;
  auto event = delta("a");
  event.mutable_delta()->set_reasoning_content("hm");
  v1::ToolCallDelta* call = event.mutable_delta()->add_tool_calls();
  call->set_id("c");
  call->set_name("f");
  body.take(event, &out);
  event.mutable_delta()->clear_reasoning_content();
  call->set_arguments("{}");
  body.take(event, &out);
  body.take(finished(v1::ChatFinished::TOOL_CALLS), &out);
  EXPECT_EQ(out, "");
  body.finish(&out);

  const json all = json::parse(out);
  const json& message = all["choices"][0]["message"];
  EXPECT_EQ(message["content"], "aa");
  EXPECT_EQ(message["reasoning_content"], "hm");
  EXPECT_EQ(message["tool_calls"][0]["function"], json({{"name", "f"}, {"arguments", "{}"}}));
  EXPECT_EQ(all["choices"][0]["finish_reason"], "tool_calls");
  EXPECT_EQ(all["usage"], json({{"prompt_tokens", 3},
                                {"completion_tokens", 2},
                                {"total_tokens", 5},
                                {"prompt_tokens_details", {{"cached_tokens", 1}}},
                                {"completion_tokens_details", {{"reasoning_tokens", 1}}}}));
}

TEST(JsonText, EscapesWhatMustBeAndMendsWhatIsNoUtf8) {
  std::string text;
  for (int c = 0; c < 128; ++c) text += static_cast<char>(c);
  text += "é🦊\u2028";
  std::string out;
  append_quoted(text, &out);
  EXPECT_EQ(json::parse(out), text);

  out.clear();
  append_quoted(
      "a\xff"
      "b\xc3",
      &out);
  EXPECT_EQ(json::parse(out), "a\uFFFDb\uFFFD");
}

TEST(JsonText, FloatsReadBackAsTheyWere) {
  for (const float value : {0.0f, -0.5f, 1e-7f, -123.456f, 3.4e38f}) {
    std::string out;
    append_number(value, &out);
    EXPECT_EQ(json::parse(out).get<float>(), value) << out;
  }
  std::string out;
  append_number(-std::numeric_limits<float>::infinity(), &out);
  EXPECT_EQ(json::parse(out).get<float>(), std::numeric_limits<float>::lowest());
}

}  // namespace
}  // namespace mimo::http
