#include "coordinator/chat/chat_turn.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/coordinator/chat/chat_support.h"

namespace mimo::chat {
namespace {

v1::GenerateResponse prompt_event(uint64_t seed) {
  v1::GenerateResponse response;
  response.set_request_id("r1");
  response.mutable_prompt()->set_seed(seed);
  return response;
}

v1::GenerateResponse token_event(int32_t output_idx, const std::vector<std::string>& tokens) {
  v1::GenerateResponse response;
  response.set_request_id("r1");
  v1::TokenEvent* event = response.mutable_token();
  event->set_output_index(output_idx);
  for (const std::string& token : tokens) {
    event->add_tokens()->set_token(token);
    event->mutable_text()->append(token);
  }
  return response;
}

v1::GenerateResponse finished_event(int32_t output_idx, v1::FinishReason reason) {
  v1::GenerateResponse response;
  response.set_request_id("r1");
  response.mutable_finished()->set_output_index(output_idx);
  response.mutable_finished()->set_reason(reason);
  response.mutable_usage()->set_completion_tokens(7);
  return response;
}

// One output, put together again.
struct Reply {
  std::string content, reasoning;
  std::vector<v1::ToolCallDelta> calls;
  int32_t num_tokens = 0;
  std::vector<std::string> tokens;
  v1::ChatFinished finished;
  v1::Usage usage;

  void add(const v1::ChatDelta& delta) {
    content += delta.content();
    reasoning += delta.reasoning_content();
    for (const v1::ToolCallDelta& call : delta.tool_calls()) {
      if (call.index() == static_cast<int32_t>(calls.size())) calls.emplace_back();
      v1::ToolCallDelta& whole = calls.at(static_cast<size_t>(call.index()));
      if (!call.id().empty()) whole.set_id(call.id());
      if (!call.name().empty()) whole.set_name(call.name());
      whole.mutable_arguments()->append(call.arguments());
    }
    num_tokens += delta.num_tokens();
    for (const v1::TokenInfo& token : delta.tokens()) tokens.push_back(token.token());
  }
};

std::vector<Reply> put_together(const std::vector<v1::ChatResponse>& responses, size_t outputs) {
  std::vector<Reply> replies(outputs);
  for (const v1::ChatResponse& response : responses) {
    EXPECT_EQ(response.request_id(), "r1");
    if (response.has_delta()) {
      replies.at(static_cast<size_t>(response.delta().output_index())).add(response.delta());
    } else if (response.has_finished()) {
      Reply& reply = replies.at(static_cast<size_t>(response.finished().output_index()));
      reply.add(response.finished().last());
      reply.finished = response.finished();
      reply.usage = response.usage();
    }
  }
  return replies;
}

// What one output of these tokens is.
Reply run(const v1::ChatRequest& request, const std::vector<std::string>& tokens,
          v1::FinishReason reason = v1::FINISH_REASON_STOP, uint64_t seed = 5) {
  const auto prompter = tiny_prompter();
  auto turn = ChatTurn::create(*prompter, request).value();
  std::vector<v1::ChatResponse> out;
  turn->take(prompt_event(seed), &out);
  for (const std::string& token : tokens) turn->take(token_event(0, {token}), &out);
  turn->take(finished_event(0, reason), &out);
  return put_together(out, 1)[0];
}

v1::ChatRequest thinking_request() {
  v1::ChatRequest request = request_with_tools();
  request.set_enable_thinking(true);
  return request;
}

TEST(ChatTurn, TheRequestIsTheEnginesWithThePromptAsText) {
  v1::ChatRequest request = request_with_tools();
  request.set_request_id("r1");
  request.set_model("tiny");
  request.mutable_sampling()->set_seed(7);
  request.mutable_stopping()->set_max_tokens(9);
  request.mutable_response()->set_output_candidates(2);
  const auto prompter = tiny_prompter();

  const auto turn = ChatTurn::create(*prompter, request).value();

  EXPECT_EQ(turn->request().request_id(), "r1");
  EXPECT_EQ(turn->request().model(), "tiny");
  EXPECT_EQ(turn->request().text(), prompter->render(request).value());
  EXPECT_EQ(turn->request().sampling().seed(), 7u);
  EXPECT_EQ(turn->request().stopping().max_tokens(), 9);
  EXPECT_EQ(turn->request().response().output_candidates(), 2);
  EXPECT_FALSE(turn->request().has_constraint());
}

TEST(ChatTurn, ReasoningContentAndCallsComeApart) {
  const Reply reply =
      run(thinking_request(), {"<think>", "hm", "</think>", "I ", "look.",
                               call_text("get_weather", {{"city", "Paris"}, {"days", "3"}})});

  EXPECT_EQ(reply.reasoning, "hm");
  EXPECT_EQ(reply.content, "I look.");
  ASSERT_EQ(reply.calls.size(), 1u);
  EXPECT_EQ(reply.calls[0].name(), "get_weather");
  EXPECT_EQ(reply.calls[0].arguments(), R"({"city": "Paris", "days": 3})");
  EXPECT_EQ(reply.finished.reason(), v1::ChatFinished::TOOL_CALLS);
  EXPECT_EQ(reply.num_tokens, 6);
  EXPECT_TRUE(reply.tokens.empty());
  EXPECT_EQ(reply.usage.completion_tokens(), 7);
  EXPECT_EQ(reply.usage.reasoning_tokens(), 3);
}

TEST(ChatTurn, EventsComeInOrderAndAtOnce) {
  const auto prompter = tiny_prompter();
  auto turn = ChatTurn::create(*prompter, thinking_request()).value();
  std::vector<v1::ChatResponse> out;

  turn->take(prompt_event(5), &out);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].prompt().seed(), 5u);
  turn->take(token_event(0, {"<thi"}), &out);
  ASSERT_EQ(out.size(), 1u);
  turn->take(token_event(0, {"nk>", "a"}), &out);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[1].delta().reasoning_content(), "a");
  EXPECT_EQ(out[1].delta().num_tokens(), 3);
  turn->take(finished_event(0, v1::FINISH_REASON_LENGTH), &out);
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out[2].finished().reason(), v1::ChatFinished::LENGTH);
  EXPECT_EQ(out[2].usage().reasoning_tokens(), 3);
}

TEST(ChatTurn, ACutOffCallIsText) {
  const std::string call = call_text("get_time", {});
  const Reply reply = run(request_with_tools(), {call.substr(0, 20)}, v1::FINISH_REASON_LENGTH);

  EXPECT_EQ(reply.content, call.substr(0, 20));
  EXPECT_TRUE(reply.calls.empty());
  EXPECT_EQ(reply.finished.reason(), v1::ChatFinished::LENGTH);
}

TEST(ChatTurn, CallIdsAreEqualForEqualRunsOnly) {
  const std::string call = call_text("get_time", {});
  v1::ChatRequest other = request_with_tools();
  other.mutable_messages(0)->set_content("and now?");

  const Reply first = run(request_with_tools(), {call, call});
  const Reply again = run(request_with_tools(), {call + call});
  const Reply seeded = run(request_with_tools(), {call}, v1::FINISH_REASON_STOP, 6);
  const Reply elsewhere = run(other, {call});

  ASSERT_EQ(first.calls.size(), 2u);
  EXPECT_TRUE(first.calls[0].id().starts_with("call_"));
  EXPECT_NE(first.calls[0].id(), first.calls[1].id());
  EXPECT_EQ(first.calls[0].id(), again.calls[0].id());
  EXPECT_EQ(first.calls[1].id(), again.calls[1].id());
  EXPECT_NE(first.calls[0].id(), seeded.calls[0].id());
  EXPECT_NE(first.calls[0].id(), elsewhere.calls[0].id());
}

TEST(ChatTurn, EachOutputHasItsOwnParsers) {
  v1::ChatRequest request = thinking_request();
  request.mutable_sampling()->set_num_sequences(3);
  const auto prompter = tiny_prompter();
  auto turn = ChatTurn::create(*prompter, request).value();
  std::vector<v1::ChatResponse> out;
  const std::string call = call_text("get_time", {});

  turn->take(prompt_event(1), &out);
  turn->take(token_event(0, {"<think>", "a"}), &out);
  turn->take(token_event(2, {call}), &out);
  turn->take(token_event(1, {"b"}), &out);
  turn->take(token_event(0, {"</think>", call}), &out);
  for (int32_t i : {2, 0, 1}) turn->take(finished_event(i, v1::FINISH_REASON_STOP), &out);
  const auto replies = put_together(out, 3);

  EXPECT_EQ(replies[0].reasoning, "a");
  EXPECT_EQ(replies[1].content, "b");
  EXPECT_EQ(replies[1].finished.reason(), v1::ChatFinished::STOP);
  EXPECT_EQ(replies[2].finished.reason(), v1::ChatFinished::TOOL_CALLS);
  ASSERT_EQ(replies[0].calls.size(), 1u);
  ASSERT_EQ(replies[2].calls.size(), 1u);
  EXPECT_NE(replies[0].calls[0].id(), replies[2].calls[0].id());
  EXPECT_EQ(replies[1].usage.reasoning_tokens(), 3);
}

TEST(ChatTurn, OneCallWhereTheRequestAllowsNoMore) {
  v1::ChatRequest request = request_with_tools();
  request.set_parallel_tool_calls(false);
  const std::string call = call_text("get_time", {});

  const Reply reply = run(request, {call, call, "more"});

  EXPECT_EQ(reply.calls.size(), 1u);
  EXPECT_EQ(reply.content, "");
}

TEST(ChatTurn, TokensComeWithCandidates) {
  v1::ChatRequest request = request_with_tools();
  request.mutable_response()->set_output_candidates(0);

  const Reply reply = run(request, {"a", "<tool", "_x"});

  EXPECT_EQ(reply.content, "a<tool_x");
  EXPECT_EQ(reply.tokens, (std::vector<std::string>{"a", "<tool", "_x"}));
}

TEST(ChatTurn, StopMatchesErrorsAndCancelsComeThrough) {
  const auto prompter = tiny_prompter();
  auto turn = ChatTurn::create(*prompter, request_with_tools()).value();
  std::vector<v1::ChatResponse> out;
  v1::GenerateResponse stop = finished_event(0, v1::FINISH_REASON_STOP);
  stop.mutable_finished()->set_stop_text("END");
  stop.mutable_finished()->set_text("tail");
  v1::GenerateResponse error;
  error.mutable_error()->set_code(v1::ERROR_CODE_UNAVAILABLE);
  error.mutable_error()->set_message("gone");
  error.mutable_error()->set_retryable(true);

  turn->take(stop, &out);
  turn->take(error, &out);

  EXPECT_EQ(out[0].finished().stop_text(), "END");
  EXPECT_EQ(out[0].finished().last().content(), "tail");
  EXPECT_EQ(out[1].error().code(), v1::ERROR_CODE_UNAVAILABLE);
  EXPECT_EQ(out[1].error().message(), "gone");
  EXPECT_TRUE(out[1].error().retryable());
  EXPECT_EQ(run(request_with_tools(), {"a"}, v1::FINISH_REASON_CANCELLED).finished.reason(),
            v1::ChatFinished::CANCELLED);
}

TEST(ChatTurn, NothingDependsOnHowTokensWereGrouped) {
  v1::ChatRequest request = thinking_request();
  request.mutable_response()->set_output_candidates(0);
  std::vector<std::string> tokens = {"<think>", "a", "b</think>c"};
  const std::string call = call_text("get_weather", {{"city", "Paris"}});
  for (size_t i = 0; i < call.size(); i += 3) tokens.push_back(call.substr(i, 3));
  const Reply want = run(request, tokens);
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    const auto prompter = tiny_prompter();
    auto turn = ChatTurn::create(*prompter, request).value();
    std::vector<v1::ChatResponse> out;
    turn->take(prompt_event(5), &out);
    for (size_t at = 0; at < tokens.size();) {
      const size_t end = std::min(tokens.size(), at + 1 + random() % 5);
      turn->take(token_event(0, {tokens.begin() + static_cast<int64_t>(at),
                                 tokens.begin() + static_cast<int64_t>(end)}),
                 &out);
      at = end;
    }
    turn->take(finished_event(0, v1::FINISH_REASON_STOP), &out);
    const Reply reply = put_together(out, 1)[0];

    ASSERT_EQ(reply.content, want.content);
    ASSERT_EQ(reply.reasoning, want.reasoning);
    ASSERT_EQ(reply.tokens, want.tokens);
    ASSERT_EQ(reply.num_tokens, want.num_tokens);
    ASSERT_EQ(reply.usage.reasoning_tokens(), want.usage.reasoning_tokens());
    ASSERT_EQ(reply.calls.size(), 1u);
    ASSERT_EQ(reply.calls[0].SerializeAsString(), want.calls[0].SerializeAsString());
  }
}

}  // namespace
}  // namespace mimo::chat
