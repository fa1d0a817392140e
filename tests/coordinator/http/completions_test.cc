// /v1/completions over loopback: a SmallEngine says what the prompt said.
#include <gtest/gtest.h>

#include "tests/coordinator/http/http_door.h"

namespace mimo::http {
namespace {

using Json = nlohmann::json;

HttpDoor::Options by_hand() {
  HttpDoor::Options options;
  options.front.engine.by_hand = true;
  return options;
}

// The texts of a stream's choice put together, and its last finish_reason.
struct Told {
  std::string text;
  std::string finish_reason;
  Json usage;
  bool done = false;
};
Told told(const Answer& answer, int choice = 0) {
  Told told;
  for (const std::string& event : answer.events()) {
    EXPECT_FALSE(told.done);
    told.done = event == "[DONE]";
    if (told.done) continue;
    const Json chunk = Json::parse(event);
    if (chunk.contains("usage")) told.usage = chunk["usage"];
    for (const Json& each : chunk["choices"]) {
      if (each["index"] != choice) continue;
      EXPECT_EQ(told.finish_reason, "");
      told.text += each["text"].get<std::string>();
      if (!each["finish_reason"].is_null()) told.finish_reason = each["finish_reason"];
    }
  }
  return told;
}

TEST(Completions, OneBodyHasTextReasonAndUsage) {
  HttpDoor door;
  HttpClient client(door.address());

  const Answer answer = client.post("/v1/completions", {{"prompt", "hey you"}, {"max_tokens", 5}});

  ASSERT_EQ(answer.status, 200);
  const Json body = answer.json();
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["model"], "small");
  EXPECT_EQ(body["id"].get<std::string>().substr(0, 5), "cmpl-");
  EXPECT_EQ(body["choices"][0]["text"], "hey y");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_TRUE(body["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(body["usage"]["prompt_tokens"], 7);
  EXPECT_EQ(body["usage"]["completion_tokens"], 5);
  EXPECT_EQ(body["usage"]["total_tokens"], 12);
  EXPECT_EQ(answer.headers.at("x-request-id"), body["id"]);
}

TEST(Completions, StreamIsTheSameText) {
  HttpDoor door;
  HttpClient client(door.address());

  const Answer answer = client.post("/v1/completions",
                                    {{"prompt", "say \"naïve\"\n🦊<end>"},
                                     {"max_tokens", 100},
                                     {"stream", true},
                                     {"stream_options", {{"include_usage", true}}}},
                                    "X-Request-Id: my-own\r\n");

  ASSERT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(answer.headers.at("x-request-id"), "my-own");
  const Told all = told(answer);
  EXPECT_EQ(all.text, "say \"naïve\"\n🦊");
  EXPECT_EQ(all.finish_reason, "stop");
  EXPECT_EQ(all.usage["completion_tokens"], 18);
  EXPECT_TRUE(all.done);
  EXPECT_TRUE(answer.whole);
}

TEST(Completions, TokensThatComeTogetherShareAnEvent) {
  HttpDoor door(by_hand());
  HttpClient client(door.address());
  ASSERT_TRUE(client.send(HttpClient::post_text(
      "/v1/completions", R"({"prompt": "xyz", "max_tokens": 3, "stream": true})")));
  ASSERT_TRUE(door.front.engine.wait_live(1));

  door.front.engine.step();

  ASSERT_TRUE(client.read_until("\"text\":\"x\""));
  door.front.engine.step(2);
  EXPECT_EQ(told(client.read()).text, "xyz");
}

TEST(Completions, PromptsInAListAreChoicesInItsOrder) {
  HttpDoor door;
  HttpClient client(door.address());
  const Json request = {{"prompt", {"one", "two two"}}, {"max_tokens", 3}, {"n", 2}};

  const Json body = client.post("/v1/completions", request).json();
  ASSERT_EQ(body["choices"].size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(body["choices"][i]["text"], i < 2 ? "one" : "two");
  }
  EXPECT_EQ(body["usage"]["prompt_tokens"], 10);
  EXPECT_EQ(body["usage"]["completion_tokens"], 12);

  const Json ids = {{"prompt", {{120, 121}, {122}}}, {"max_tokens", 2}};
  const Json of_ids = client.post("/v1/completions", ids).json();
  EXPECT_EQ(of_ids["choices"][0]["text"], "xy");
  EXPECT_EQ(of_ids["choices"][1]["text"], "zz");

  Json streamed = request;
  streamed["stream"] = true;
  const Answer stream = client.post("/v1/completions", streamed);
  EXPECT_EQ(told(stream, 1).text, "one");
  EXPECT_EQ(told(stream, 3).text, "two");
}

TEST(Completions, EchoAndLogprobsScoreThePrompt) {
  HttpDoor door;
  HttpClient client(door.address());

  const Json body =
      client
          .post("/v1/completions",
                {{"prompt", "xyz"}, {"max_tokens", 1}, {"echo", true}, {"logprobs", 2}})
          .json();

  const Json& choice = body["choices"][0];
  EXPECT_EQ(choice["text"], "xyzx");
  const Json& logprobs = choice["logprobs"];
  EXPECT_EQ(logprobs["tokens"], Json({"x", "y", "z", "x"}));
  EXPECT_EQ(logprobs["token_logprobs"], Json({nullptr, -0.5, -0.5, -0.5}));
  EXPECT_EQ(logprobs["text_offset"], Json({0, 1, 2, 3}));
  EXPECT_TRUE(logprobs["top_logprobs"][0].is_null());
  EXPECT_EQ(logprobs["top_logprobs"][1], Json({{"y", -0.5}, {"x", -1.5}}));
}

TEST(Completions, NoTokensWithEchoIsThePromptAlone) {
  HttpDoor door;
  HttpClient client(door.address());

  const Json body =
      client.post("/v1/completions", {{"prompt", "xyz"}, {"max_tokens", 0}, {"echo", true}}).json();

  EXPECT_EQ(body["choices"][0]["text"], "xyz");
  EXPECT_EQ(body["usage"]["completion_tokens"], 0);
  EXPECT_EQ(body["usage"]["total_tokens"], 3);
}

TEST(Completions, StopTextsStopAndAreNamed) {
  HttpDoor door;
  HttpClient client(door.address());

  const Json body = client
                        .post("/v1/completions",
                              {{"prompt", "one two three"}, {"max_tokens", 13}, {"stop", "two"}})
                        .json();

  EXPECT_EQ(body["choices"][0]["text"], "one ");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(body["choices"][0]["stop_reason"], "two");
}

TEST(Completions, RefusalsHaveOpenAisShapeAndNames) {
  HttpDoor door;
  HttpClient client(door.address());
  struct Case {
    Json change;
    int status;
    std::string param, code;
  };
  const Case cases[] = {
      {{{"temperature", 1000}}, 400, "temperature", ""},
      {{{"temperature", "hot"}}, 400, "temperature", ""},
      {{{"n", 0}}, 400, "n", ""},
      {{{"n", -1}}, 400, "n", ""},
      {{{"n", 20'000'000}}, 400, "n", ""},
      {{{"logprobs", 100}}, 400, "top_logprobs", ""},
      {{{"max_tokens", 100000}}, 400, "max_tokens", ""},
      {{{"prompt", std::string(5000, 'z')}}, 400, "", "context_length_exceeded"},
      {{{"prompt", {1, 999}}}, 400, "prompt", ""},
      {{{"stop", std::vector<std::string>(17, "x")}}, 400, "stop", ""},
      {{{"model", "large"}}, 404, "model", "model_not_found"},
      {{{"suffix", "x"}}, 400, "suffix", "unsupported_parameter"},
      {{{"response_format", {{"type", "yaml"}}}}, 400, "response_format.type", ""},
  };
  for (const Case& each : cases) {
    Json request = {{"prompt", "hey"}, {"max_tokens", 3}, {"stream", true}};
    request.update(each.change);
    const Answer answer = client.post("/v1/completions", request);
    EXPECT_EQ(answer.status, each.status) << answer.body;
    const Json error = answer.json()["error"];
    EXPECT_EQ(error["param"].is_null() ? "" : error["param"], each.param) << answer.body;
    EXPECT_EQ(error["code"].is_null() ? "" : error["code"], each.code) << answer.body;
  }
}

TEST(Completions, AFullServerSaysWhenToComeBack) {
  auto options = by_hand();
  options.front.admission.requests_max = 1;
  HttpDoor door(options);
  HttpClient first(door.address());
  HttpClient second(door.address());
  const Json request = {{"prompt", "hey"}, {"max_tokens", 3}};
  ASSERT_TRUE(first.send(HttpClient::post_text("/v1/completions", request.dump())));
  ASSERT_TRUE(door.front.engine.wait_live(1));

  const Answer refused = second.post("/v1/completions", request);

  EXPECT_EQ(refused.status, 429);
  EXPECT_GE(std::stoi(refused.headers.at("retry-after")), 1);
  EXPECT_EQ(refused.json()["error"]["code"], "rate_limit_exceeded");
  door.front.engine.step(3);
  EXPECT_EQ(first.read().status, 200);
}

TEST(Completions, OneBodyHasItsBoundAndAStreamHasNone) {
  HttpDoor::Options options;
  options.front.sessions.limits.message_bytes_max = 10'000;
  HttpDoor door(options);
  HttpClient client(door.address());
  Json request = {{"prompt", "hey"}, {"max_tokens", 3000}, {"n", 4}};

  const Answer refused = client.post("/v1/completions", request);
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.json()["error"]["code"], "reply_too_large");
  EXPECT_EQ(refused.json()["error"]["param"], "stream");
  EXPECT_TRUE(door.front.admission.wait_empty(std::chrono::seconds(10)));

  request["stream"] = true;
  EXPECT_EQ(told(client.post("/v1/completions", request), 3).text.size(), 3000u);
  request["stream"] = false;
  request["n"] = 3;
  EXPECT_EQ(client.post("/v1/completions", request).status, 200);
}

TEST(Completions, AnEchoCountsOnceForEachOutput) {
  HttpDoor::Options options;
  options.front.sessions.limits.message_bytes_max = 10'000;
  HttpDoor door(options);
  HttpClient client(door.address());

  for (const bool stream : {false, true}) {
    const Answer refused = client.post("/v1/completions", {{"prompt", std::string(3000, 'z')},
                                                           {"max_tokens", 1},
                                                           {"n", 64},
                                                           {"echo", true},
                                                           {"stream", stream}});
    EXPECT_EQ(refused.status, 400) << refused.body.substr(0, 500);
  }
}

TEST(Completions, NoGroupIsUnavailable) {
  HttpDoor::Options options;
  options.front.connected = false;
  HttpDoor door(options);
  HttpClient client(door.address());

  const Answer refused = client.post("/v1/completions", {{"prompt", "hey"}});

  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
}

TEST(Completions, AFailureBeforeTheFirstTokenHasItsStatus) {
  HttpDoor door(by_hand());
  HttpClient client(door.address());
  ASSERT_TRUE(client.send(
      HttpClient::post_text("/v1/completions", R"({"prompt": "hey", "stream": true})")));
  ASSERT_TRUE(door.front.engine.wait_live(1));

  door.front.engine.lose(unavailable("worker w1 is gone"));

  EXPECT_EQ(client.read().status, 503);
}

TEST(Completions, AFailureInMidStreamIsAnEventAndNoDone) {
  HttpDoor door(by_hand());
  HttpClient client(door.address());
  ASSERT_TRUE(client.send(
      HttpClient::post_text("/v1/completions", R"({"prompt": "hey", "stream": true})")));
  ASSERT_TRUE(door.front.engine.wait_live(1));
  door.front.engine.step();
  ASSERT_TRUE(client.read_until("\"text\":\"h\""));

  door.front.engine.lose(unavailable("worker w1 is gone"));

  const Answer answer = client.read();
  EXPECT_FALSE(answer.whole);
  EXPECT_NE(answer.body.find("data: {\"error\":{\"message\":\"the group was lost"),
            std::string::npos);
  EXPECT_EQ(answer.body.find("[DONE]"), std::string::npos);
  EXPECT_TRUE(client.at_end());
}

TEST(Completions, ARequestsOwnIdIsItsReplys) {
  HttpDoor door(by_hand());
  for (const char* path : {"/v1/completions", "/v1/chat/completions"}) {
    HttpClient client(door.address());
    Json request = saying("hey you");
    if (path == std::string("/v1/completions")) request = {{"prompt", "hey you"}};
    request["request_id"] = "mine";
    request["stream"] = true;
    ASSERT_TRUE(client.send(HttpClient::post_text(path, request.dump())));
    ASSERT_TRUE(door.front.engine.wait_live(1));
    door.front.engine.step();
    ASSERT_TRUE(client.read_until("\"id\":\"mine\""));
    EXPECT_NE(client.read_so_far().find("X-Request-Id: mine\r\n"), std::string::npos);

    EXPECT_EQ(door.front.sessions.abort("mine"), 1);

    EXPECT_NE(client.read().body.find("\"error\""), std::string::npos);
  }
}

TEST(Completions, AnIdThatNoHeaderCanHoldIsInTheBodyAlone) {
  HttpDoor door;
  HttpClient client(door.address());

  const Answer answer = client.post(
      "/v1/completions", {{"prompt", "hey"}, {"max_tokens", 3}, {"request_id", "a\r\nX-B: c"}});

  EXPECT_EQ(answer.json()["id"], "a\r\nX-B: c");
  EXPECT_FALSE(answer.headers.contains("x-request-id"));
  EXPECT_FALSE(answer.headers.contains("x-b"));
}

TEST(Completions, UnknownFieldsAreNamedAndIgnored) {
  HttpDoor door;
  HttpClient client(door.address());

  const Answer answer = client.post(
      "/v1/completions",
      {{"prompt", "hey"}, {"max_tokens", 1}, {"user", "me"}, {"temprature", 1}, {"x\ny", 2}});

  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("x-ignored-fields"), "temprature, xy");
}

}  // namespace
}  // namespace mimo::http
