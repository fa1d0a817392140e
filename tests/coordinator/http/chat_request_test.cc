#include "coordinator/http/chat_request.h"

#include <gtest/gtest.h>

namespace mimo::http {
namespace {

Json with_message() { return Json::parse(R"({"messages": [{"role": "user", "content": "hey"}]})"); }

ChatCall read(const Json& change) {
  Json body = with_message();
  body.update(change);
  ChatCall call;
  const auto error = read_chat(body, &call);
  EXPECT_FALSE(error) << error->message;
  return call;
}

std::string param_of(const Json& change) {
  Json body = with_message();
  body.update(change);
  ChatCall call;
  const auto error = read_chat(body, &call);
  return error ? error->param : "(taken)";
}

TEST(ChatRequest, FieldsGoWhereTheyBelong) {
  const ChatCall call = read(Json::parse(R"({
      "model": "m", "temperature": 0.5, "top_p": 0.25, "top_k": -1, "min_p": 0.125, "n": 2,
      "frequency_penalty": 1, "presence_penalty": -1, "repetition_penalty": 1.5, "seed": -1,
      "logit_bias": {"17": 3, "4": -100}, "max_tokens": 5, "max_completion_tokens": 7,
      "min_tokens": 2, "stop": ["a", "b"], "stop_token_ids": [9], "ignore_eos": true,
      "include_stop_str_in_output": true, "skip_special_tokens": false,
      "logprobs": true, "top_logprobs": 4, "parallel_tool_calls": false, "request_id": "mine",
      "stream": true, "stream_options": {"include_usage": true}})"));
  const v1::ChatRequest& request = call.request;

  EXPECT_EQ(request.model(), "m");
  EXPECT_EQ(request.request_id(), "mine");
  EXPECT_EQ(request.messages(0).content(), "hey");
  const v1::Sampling& sampling = request.sampling();
  EXPECT_EQ(sampling.temperature(), 0.5f);
  EXPECT_EQ(sampling.top_p(), 0.25f);
  EXPECT_TRUE(sampling.has_top_k());
  EXPECT_EQ(sampling.top_k(), 0);
  EXPECT_EQ(sampling.min_p(), 0.125f);
  EXPECT_EQ(sampling.num_sequences(), 2);
  EXPECT_EQ(sampling.frequency_penalty(), 1.0f);
  EXPECT_EQ(sampling.presence_penalty(), -1.0f);
  EXPECT_EQ(sampling.repetition_penalty(), 1.5f);
  EXPECT_EQ(sampling.seed(), UINT64_MAX);
  EXPECT_EQ(sampling.logit_bias().at(17), 3.0f);
  EXPECT_EQ(sampling.logit_bias().at(4), -100.0f);
  const v1::Stopping& stopping = request.stopping();
  EXPECT_EQ(stopping.max_tokens(), 7);
  EXPECT_EQ(stopping.min_tokens(), 2);
  EXPECT_EQ(stopping.stop_text(1), "b");
  EXPECT_EQ(stopping.stop_token_ids(0), 9);
  EXPECT_TRUE(stopping.ignore_eos());
  EXPECT_TRUE(stopping.include_stop_in_output());
  EXPECT_TRUE(request.response().include_special_tokens());
  EXPECT_EQ(request.response().output_candidates(), 4);
  EXPECT_TRUE(call.logprobs);
  EXPECT_FALSE(request.parallel_tool_calls());
  EXPECT_TRUE(call.stream.stream);
  EXPECT_TRUE(call.stream.include_usage);
  EXPECT_TRUE(call.ignored.empty());
}

TEST(ChatRequest, WhatIsNotSaidIsNotSet) {
  const ChatCall call = read({{"temperature", nullptr}, {"stop", nullptr}, {"tools", nullptr}});

  EXPECT_FALSE(call.request.sampling().has_temperature());
  EXPECT_FALSE(call.request.stopping().has_max_tokens());
  EXPECT_FALSE(call.request.response().has_output_candidates());
  EXPECT_FALSE(call.request.has_enable_thinking());
  EXPECT_FALSE(call.request.has_constraint());
  EXPECT_FALSE(call.request.has_tool_choice());
}

TEST(ChatRequest, MessagesMayHavePartsCallsAndThoughts) {
  const ChatCall call = read(Json::parse(R"({"messages": [
      {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": {"y": 2}}}]},
      {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "1"}]})"));
  const auto& messages = call.request.messages();

  EXPECT_EQ(messages[0].role(), "system");
  EXPECT_EQ(messages[0].content(), "ab");
  EXPECT_FALSE(messages[1].has_content());
  EXPECT_EQ(messages[1].reasoning_content(), "hm");
  EXPECT_EQ(messages[1].tool_calls(0).arguments(), "{\"x\": 1}");
  EXPECT_EQ(messages[1].tool_calls(1).arguments(), "{\"y\":2}");
  EXPECT_EQ(messages[2].tool_call_id(), "c1");
  EXPECT_EQ(messages[2].name(), "f");
}

TEST(ChatRequest, ToolsKeepTheOrderOfTheirSchemas) {
  const ChatCall call = read(Json::parse(R"({"tools": [{"type": "function", "function": {
      "name": "f", "description": "does", "strict": true,
      "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}}}],
      "tool_choice": {"type": "function", "function": {"name": "f"}}})"));
  const v1::Tool& tool = call.request.tools(0);

  EXPECT_EQ(tool.name(), "f");
  EXPECT_EQ(tool.description(), "does");
  EXPECT_TRUE(tool.strict());
  EXPECT_EQ(tool.parameters(), R"({"type":"object","properties":{"z":{},"a":{}}})");
  EXPECT_EQ(call.request.tool_choice().mode(), v1::ToolChoice::NAMED);
  EXPECT_EQ(call.request.tool_choice().name(), "f");
  EXPECT_EQ(read({{"tool_choice", "required"}}).request.tool_choice().mode(),
            v1::ToolChoice::REQUIRED);
}

TEST(ChatRequest, ThinkingHasThreeNames) {
  EXPECT_FALSE(read({{"reasoning_effort", "none"}}).request.enable_thinking());
  EXPECT_TRUE(read({{"reasoning_effort", "low"}}).request.enable_thinking());
  const ChatCall call =
      read({{"reasoning_effort", "high"},
            {"chat_template_kwargs", {{"enable_thinking", false}, {"keep", Json::array({1})}}}});
  EXPECT_TRUE(call.request.has_enable_thinking());
  EXPECT_FALSE(call.request.enable_thinking());
  EXPECT_EQ(call.request.template_arguments(), R"({"keep":[1]})");
}

TEST(ChatRequest, ConstraintsHaveManyNames) {
  const auto of = [](const char* text) { return read(Json::parse(text)).request.constraint(); };

  EXPECT_TRUE(of(R"({"response_format": {"type": "json_object"}})").json_object());
  EXPECT_EQ(of(R"({"response_format": {"type": "json_schema", "json_schema":
                   {"name": "n", "schema": {"type": "object"}}}})")
                .json_schema(),
            R"({"type":"object"})");
  EXPECT_EQ(of(R"({"guided_json": {"type": "string"}})").json_schema(), R"({"type":"string"})");
  EXPECT_EQ(of(R"({"guided_json": "{}"})").json_schema(), "{}");
  EXPECT_EQ(of(R"({"guided_regex": "a+"})").regex(), "a+");
  EXPECT_EQ(of(R"({"guided_choice": ["a", "b"]})").choice().texts(1), "b");
  EXPECT_EQ(of(R"({"guided_grammar": "root ::= x"})").grammar(), "root ::= x");
  EXPECT_EQ(of(R"({"structured_outputs": {"regex": "b+"}})").regex(), "b+");
  EXPECT_TRUE(of(R"({"structured_outputs": {"json_object": true}})").json_object());
  EXPECT_FALSE(read({{"response_format", {{"type", "text"}}}}).request.has_constraint());
  EXPECT_EQ(param_of({{"guided_regex", "a"}, {"guided_choice", {"a"}}}), "guided_choice");
}

TEST(ChatRequest, WrongTypesAreRefusedByName) {
  EXPECT_EQ(param_of({{"temperature", "1"}}), "temperature");
  EXPECT_EQ(param_of({{"n", 1.5}}), "n");
  EXPECT_EQ(param_of({{"n", 1e10}}), "n");
  EXPECT_EQ(param_of({{"stream", 1}}), "stream");
  EXPECT_EQ(param_of({{"stop", {1}}}), "stop[0]");
  EXPECT_EQ(param_of({{"seed", 0.5}}), "seed");
  EXPECT_EQ(param_of({{"logit_bias", {{"x", 1}}}}), "logit_bias");
  EXPECT_EQ(param_of({{"logit_bias", {{"1", "x"}}}}), "logit_bias[1]");
  EXPECT_EQ(param_of({{"tools", {{{"type", "code"}}}}}), "tools[0].type");
  EXPECT_EQ(param_of({{"messages", {1}}}), "messages[0]");
  EXPECT_EQ(param_of({{"response_format", {{"type", "json_schema"}}}}),
            "response_format.json_schema");
  EXPECT_EQ(param_of({{"structured_outputs", {{"regex", 1}}}}), "structured_outputs.regex");
  EXPECT_EQ(param_of({{"n", 1.0}}), "(taken)");
}

TEST(ChatRequest, FieldsThatNobodyKnowsAreListed) {
  const ChatCall call = read({{"user", "me"}, {"foo", 1}, {"store", true}, {"bar", nullptr}});

  EXPECT_EQ(call.ignored, (std::vector<std::string>{"foo", "bar"}));
}

}  // namespace
}  // namespace mimo::http
