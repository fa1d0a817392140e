// /v1/chat/completions over loopback: the reply says what the conversation said.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/coordinator/http/http_door.h"

namespace mimo::http {
namespace {

using Json = nlohmann::json;

// A stream's choice, put together as a client does it.
struct Message {
  std::string role, content, reasoning, finish_reason;
  std::map<int, Json> calls;
  int num_roles = 0;
  bool done = false;
};
Message message_of(const Answer& answer, int choice = 0) {
  Message message;
  for (const std::string& event : answer.events()) {
    message.done = event == "[DONE]";
    if (message.done) continue;
    const Json chunk = Json::parse(event);
    for (const Json& each : chunk["choices"]) {
      if (each["index"] != choice) continue;
      const Json& delta = each["delta"];
      if (delta.contains("role")) {
        EXPECT_EQ(message.content + message.reasoning, "");
        message.role = delta["role"];
        ++message.num_roles;
      }
      message.content += delta.value("content", "");
      message.reasoning += delta.value("reasoning_content", "");
      const Json calls = delta.value("tool_calls", Json::array());
      for (const Json& call : calls) {
        Json& whole = message.calls[call["index"]];
        if (call.contains("id")) whole["id"] = call["id"];
        const Json& function = call["function"];
        if (function.contains("name")) whole["name"] = function["name"];
        whole["arguments"] = whole.value("arguments", "") + function.value("arguments", "");
      }
      if (!each["finish_reason"].is_null()) message.finish_reason = each["finish_reason"];
    }
  }
  return message;
}

Json with_tool(Json request) {
  request["tools"] = {
      {{"type", "function"},
       {"function",
        {{"name", "weather"},
         {"parameters",
          {{"type", "object"},
           {"properties", {{"city", {{"type", "string"}}}, {"days", {{"type", "integer"}}}}}}}}}}};
  return request;
}

constexpr const char* kCall =
    "<tool_call>\n<function=weather>\n<parameter=city>Rome</parameter>\n"
    "<parameter=days>3</parameter>\n</function>\n</tool_call>";

TEST(Chat, OneBodyHasAMessage) {
  HttpDoor door;
  HttpClient client(door.address());

  const Answer answer = client.post("/v1/chat/completions", saying("good day"));

  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json body = answer.json();
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["id"].get<std::string>().substr(0, 9), "chatcmpl-");
  EXPECT_EQ(body["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(body["choices"][0]["message"]["content"], "good day");
  EXPECT_FALSE(body["choices"][0]["message"].contains("reasoning_content"));
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(body["choices"][0]["stop_reason"].is_null());
  EXPECT_EQ(body["usage"]["prompt_tokens"], 9);
  EXPECT_EQ(body["usage"]["completion_tokens"], 9);
  EXPECT_EQ(body["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
}

TEST(Chat, ThoughtsAreInReasoningContentOnly) {
  HttpDoor door;
  HttpClient client(door.address());
  Json request = saying("<think>hm, so</think>good day");

  const Json body = client.post("/v1/chat/completions", request).json();
  EXPECT_EQ(body["choices"][0]["message"]["content"], "good day");
  EXPECT_EQ(body["choices"][0]["message"]["reasoning_content"], "hm, so");
  EXPECT_GT(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 0);

  request["stream"] = true;
  const Message streamed = message_of(client.post("/v1/chat/completions", request));
  EXPECT_EQ(streamed.content, "good day");
  EXPECT_EQ(streamed.reasoning, "hm, so");
  EXPECT_EQ(streamed.role, "assistant");
  EXPECT_EQ(streamed.num_roles, 1);
  EXPECT_EQ(streamed.finish_reason, "stop");
  EXPECT_TRUE(streamed.done);
}

TEST(Chat, ToolCallsAreTakenApart) {
  HttpDoor door;
  HttpClient client(door.address());
  Json request = with_tool(saying(std::string("Let me see.\n") + kCall));

  const Json choice = client.post("/v1/chat/completions", request).json()["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  const Json& call = choice["message"]["tool_calls"][0];
  EXPECT_EQ(call["type"], "function");
  EXPECT_EQ(call["function"]["name"], "weather");
  EXPECT_EQ(Json::parse(call["function"]["arguments"].get<std::string>()),
            Json({{"city", "Rome"}, {"days", 3}}));
  EXPECT_NE(call["id"], "");

  request["stream"] = true;
  const Message streamed = message_of(client.post("/v1/chat/completions", request));
  EXPECT_EQ(streamed.finish_reason, "tool_calls");
  ASSERT_EQ(streamed.calls.size(), 1u);
  EXPECT_EQ(streamed.calls.at(0)["name"], "weather");
  EXPECT_EQ(Json::parse(streamed.calls.at(0)["arguments"].get<std::string>()),
            Json({{"city", "Rome"}, {"days", 3}}));
}

TEST(Chat, LogprobsAreOfEachToken) {
  HttpDoor door;
  HttpClient client(door.address());
  Json request = saying("xé");
  request["logprobs"] = true;
  request["top_logprobs"] = 2;
  request["max_tokens"] = 3;

  const Json body = client.post("/v1/chat/completions", request).json();

  const Json& content = body["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3u);
  EXPECT_EQ(content[0]["token"], "x");
  EXPECT_EQ(content[0]["bytes"], Json({120}));
  EXPECT_EQ(content[0]["logprob"], -0.5);
  ASSERT_EQ(content[0]["top_logprobs"].size(), 2u);
  EXPECT_EQ(content[0]["top_logprobs"][1]["token"], "w");
  EXPECT_EQ(content[1]["bytes"], Json({0xc3}));  // half a character
}

TEST(Chat, EveryOutputIsAChoice) {
  HttpDoor door;
  HttpClient client(door.address());
  Json request = saying("hey");
  request["n"] = 3;

  EXPECT_EQ(client.post("/v1/chat/completions", request).json()["choices"].size(), 3u);
  request["stream"] = true;
  const Answer stream = client.post("/v1/chat/completions", request);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(message_of(stream, i).content, "hey");
}

TEST(Chat, UsageComesLastOrWithEachChunk) {
  HttpDoor door;
  HttpClient client(door.address());
  Json request = saying("hey");
  request["stream"] = true;
  request["stream_options"] = {{"include_usage", true}};

  auto events = client.post("/v1/chat/completions", request).events();
  ASSERT_GE(events.size(), 4u);
  const Json last = Json::parse(events[events.size() - 2]);
  EXPECT_TRUE(last["choices"].empty());
  EXPECT_EQ(last["usage"]["total_tokens"], 8);
  EXPECT_TRUE(Json::parse(events[0])["usage"].is_null());

  request["stream_options"] = {{"continuous_usage_stats", true}};
  events = client.post("/v1/chat/completions", request).events();
  EXPECT_EQ(Json::parse(events[0])["usage"]["prompt_tokens"], 4);
}

TEST(Chat, RefusalsNameTheField) {
  HttpDoor door;
  HttpClient client(door.address());
  struct Case {
    Json change;
    int status;
    std::string param;
  };
  const Json image = {
      {{"role", "user"}, {"content", {{{"type", "image_url"}, {"image_url", {{"url", "x"}}}}}}}};
  const Case cases[] = {
      {{{"messages", Json::array()}}, 400, "messages"},
      {{{"messages", "hey"}}, 400, "messages"},
      {{{"messages", image}}, 400, "messages[0].content[0].type"},
      {{{"messages", {{{"content", "x"}}}}}, 400, "messages[0].role"},
      {{{"top_logprobs", 3}}, 400, "top_logprobs"},
      {{{"stream_options", {{"include_usage", true}}}, {"stream", false}}, 400, "stream_options"},
      {{{"functions", {1}}}, 400, "functions"},
      {{{"tool_choice", "some"}}, 400, "tool_choice"},
      {{{"model", "large"}}, 404, "model"},
      {{{"reasoning_effort", "some"}}, 400, "reasoning_effort"},
  };
  for (const Case& each : cases) {
    Json request = saying("hey");
    request["stream"] = true;
    request.update(each.change);
    const Answer answer = client.post("/v1/chat/completions", request);
    EXPECT_EQ(answer.status, each.status) << answer.body;
    EXPECT_EQ(answer.json()["error"]["param"], each.param) << answer.body;
  }
}

TEST(Chat, TheTemplatesRefusalIsTheClients) {
  HttpDoor door;
  HttpClient client(door.address());

  const Answer answer = client.post("/v1/chat/completions",
                                    {{"messages", {{{"role", "refused"}, {"content", "x"}}}}});

  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.json()["error"]["message"].get<std::string>().find("this role is refused"),
            std::string::npos);
}

TEST(Chat, OneBodyHasItsBoundAndAStreamHasNone) {
  HttpDoor::Options options;
  options.front.sessions.limits.message_bytes_max = 1'000;
  HttpDoor door(options);
  HttpClient client(door.address());

  for (const std::string& text : {std::string(1'500, 'z'), "<think>" + std::string(1'500, 'z')}) {
    Json request = saying(text);
    const Answer refused = client.post("/v1/chat/completions", request);
    EXPECT_EQ(refused.status, 400);
    EXPECT_EQ(refused.json()["error"]["code"], "reply_too_large");

    request["stream"] = true;
    const Message whole = message_of(client.post("/v1/chat/completions", request));
    EXPECT_EQ(whole.content.size() + whole.reasoning.size(), 1'500u);
  }
  Json scored = saying(std::string(100, 'z'));
  scored["logprobs"] = true;
  EXPECT_EQ(client.post("/v1/chat/completions", scored).status, 400);
  scored["logprobs"] = false;
  EXPECT_EQ(client.post("/v1/chat/completions", scored).status, 200);
}

TEST(Chat, WithoutATemplateThereIsNone) {
  HttpDoor::Options options;
  options.front.chat_template.clear();
  HttpDoor door(options);
  HttpClient client(door.address());

  EXPECT_EQ(client.post("/v1/chat/completions", saying("hey")).status, 501);
  EXPECT_EQ(client.post("/v1/completions", {{"prompt", "x"}, {"max_tokens", 1}}).status, 200);
}

TEST(Chat, SixtyFourAtOnceAreNotMixedUp) {
  HttpDoor::Options options;
  options.front.sessions.limits.positions_max = 20'000;
  HttpDoor door(options);
  std::atomic<int> num_right{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 64; ++c) {
    clients.emplace_back([&, c] {
      HttpClient client(door.address());
      for (int i = 0; i < 8; ++i) {
        const bool large = (c + i) % 5 == 0;  // read by another thread
        const std::string text = "client " + std::to_string(c) + " says " + std::to_string(i) +
                                 std::string(large ? 3000 : 3, 'z');
        Json request = saying(text);
        request["metadata"] = {{"padding", std::string(large ? 4000 : 1, 'p')}};
        request["stream"] = i % 2 == 0;
        const Answer answer = client.post("/v1/chat/completions", request);
        const std::string content =
            i % 2 == 0 ? message_of(answer).content
                       : answer.json()["choices"][0]["message"]["content"].get<std::string>();
        num_right += content == text && answer.whole;
      }
    });
  }
  for (std::thread& client : clients) client.join();

  EXPECT_EQ(num_right, 64 * 8);
  EXPECT_EQ(door.front.engine.num_live(), 0);
}

}  // namespace
}  // namespace mimo::http
