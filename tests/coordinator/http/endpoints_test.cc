// Every path, over loopback: what it says, and what it refuses.
#include <gtest/gtest.h>

#include "tests/coordinator/http/http_door.h"

namespace mimo::http {
namespace {

TEST(Endpoints, ModelsAreTheOneThatIsServed) {
  HttpDoor door;
  HttpClient client(door.address());

  const auto models = client.get("/v1/models").json();
  EXPECT_EQ(models["object"], "list");
  ASSERT_EQ(models["data"].size(), 1u);
  EXPECT_EQ(models["data"][0]["id"], "small");
  EXPECT_EQ(models["data"][0]["object"], "model");
  EXPECT_EQ(models["data"][0]["max_model_len"], 4096);
  EXPECT_EQ(client.get("/v1/models/small").json()["id"], "small");

  const Answer other = client.get("/v1/models/large");
  EXPECT_EQ(other.status, 404);
  EXPECT_EQ(other.json()["error"]["code"], "model_not_found");
}

TEST(Endpoints, HealthSaysWhetherItServes) {
  HttpDoor door;
  HttpClient client(door.address());
  EXPECT_EQ(client.get("/health").status, 200);

  door.front.engine.lose(unavailable("worker w1 is gone"));

  const Answer lost = client.get("/health");
  EXPECT_EQ(lost.status, 503);
  EXPECT_EQ(lost.json()["reason"], "0 of 2 workers have joined");
}

TEST(Endpoints, VersionMetricsAndConsoleAnswer) {
  HttpDoor door;
  HttpClient client(door.address());

  EXPECT_EQ(client.get("/version").json(), nlohmann::json({{"version", "1.2.3"}}));
  const Answer metrics = client.get("/metrics");
  EXPECT_EQ(metrics.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(metrics.body.find("vllm:num_requests_running"), std::string::npos);
  EXPECT_NE(metrics.body.find("mimo_http_connections 1"), std::string::npos);
  const Answer page = client.get("/");
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_NE(page.body.find("</html>"), std::string::npos);
}

TEST(Endpoints, ConsoleStateTellsPagesAsBytes) {
  HttpDoor door;
  HttpClient client(door.address());

  const auto state = client.get("/console/state").json();

  EXPECT_EQ(state["state"], "ready");
  EXPECT_EQ(state["model"], "small");
  EXPECT_EQ(state["requests"]["running"], 0);
  const auto& full = state["kv"]["groups"][0];
  EXPECT_EQ(full["name"], "full");
  EXPECT_EQ(full["used_pages"], 25);
  EXPECT_EQ(
      full["planes"][0],
      nlohmann::json({{"name", "k"}, {"bytes", 100 * 100 * 4}, {"used_bytes", 25 * 100 * 4}}));
  EXPECT_EQ(state["kv"]["groups"][1]["planes"][1]["used_bytes"], 0);
  EXPECT_EQ(state["workers"][0]["state"], "serving");
}

TEST(Endpoints, EmbeddingsAreRefusedWithTheReason) {
  HttpDoor door;
  HttpClient client(door.address());

  const Answer answer = client.post("/v1/embeddings", {{"input", "x"}});

  EXPECT_EQ(answer.status, 501);
  EXPECT_NE(answer.json()["error"]["message"].get<std::string>().find("embeddings"),
            std::string::npos);
}

TEST(Endpoints, TokensGoThereAndBack) {
  HttpDoor door;
  HttpClient client(door.address());

  const auto tokens = client.post("/tokenize", {{"prompt", "abc<end>"}}).json();
  EXPECT_EQ(tokens["tokens"], nlohmann::json({257, 300}));
  EXPECT_EQ(tokens["count"], 2);
  EXPECT_EQ(tokens["max_model_len"], 4096);
  EXPECT_TRUE(tokens["token_strs"].is_null());
  const auto texts =
      client.post("/tokenize", {{"prompt", "abc x"}, {"return_token_strs", true}}).json();
  EXPECT_EQ(texts["token_strs"], nlohmann::json({"abc", " ", "x"}));
  auto conversation = saying("ab");
  EXPECT_EQ(client.post("/tokenize", conversation).json()["tokens"], nlohmann::json({256, 300}));

  EXPECT_EQ(client.post("/detokenize", {{"tokens", {257, 32, 300}}}).json()["prompt"], "abc <end>");
  const Answer refused = client.post("/detokenize", {{"tokens", {257, 301}}});
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.json()["error"]["param"], "tokens[1]");
}

TEST(Endpoints, LargeTextsAreTokenizedToo) {
  HttpDoor door;
  HttpClient client(door.address());
  const std::string text(100'000, 'z');

  EXPECT_EQ(client.post("/tokenize", {{"prompt", text}}).json()["count"], 100'000);
}

TEST(Endpoints, PathsAndMethodsThatAreNotThereAreNamed) {
  HttpDoor door;
  HttpClient client(door.address());

  const Answer nowhere = client.get("/v1/nowhere");
  EXPECT_EQ(nowhere.status, 404);
  EXPECT_EQ(nowhere.json()["error"]["type"], "invalid_request_error");
  const Answer wrong = client.get("/v1/chat/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "POST");
  EXPECT_EQ(client.post("/health", {}).status, 405);
  ASSERT_TRUE(client.send("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n"));
  const Answer head = client.read(/*head_only=*/true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(client.get("/version").status, 200);  // no body came between
}

TEST(Endpoints, PathsMayBeEscaped) {
  HttpDoor::Options options;
  options.front.sessions.limits.model = "maker/small 2%";
  HttpDoor door(options);
  HttpClient client(door.address());

  for (const char* path : {"/v1/models/maker%2Fsmall%202%25", "/v1%2fmodels/maker/small%202%25?x"})
    EXPECT_EQ(client.get(path).json()["id"], "maker/small 2%") << path;
  for (const char* path : {"/v1/models/a%", "/v1/models/a%2", "/v1/models/a%2x", "/%-1"}) {
    HttpClient other(door.address());
    EXPECT_EQ(other.get(path).status, 400) << path;
  }
  EXPECT_EQ(client.get("/v1/models/a%3Fb").status, 404);
}

TEST(Endpoints, ABrowsersBytesOfNoKindAreRefused) {
  HttpDoor door;
  HttpClient client(door.address());
  const auto status = [&](const std::string& headers) {
    EXPECT_TRUE(client.send("POST /detokenize HTTP/1.1\r\nHost: x\r\n" + headers +
                            "Content-Length: 15\r\n\r\n{\"tokens\":[97]}"));
    return client.read().status;
  };

  EXPECT_EQ(status(""), 200);
  EXPECT_EQ(status("Sec-Fetch-Site: same-origin\r\n"), 200);
  EXPECT_EQ(status("Sec-Fetch-Site: cross-site\r\n"), 415);
  EXPECT_EQ(status("Origin: http://elsewhere\r\n"), 415);
  EXPECT_EQ(status("Origin: null\r\n"), 415);
  EXPECT_EQ(status("Origin: http://here\r\nContent-Type: application/json\r\n"), 200);
}

TEST(Endpoints, ConversationsAreTokenizedWithoutAReplysBeginningToo) {
  HttpDoor::Options options;
  options.front.chat_template =
      "{%- for message in messages %}{{- message.content }}{%- endfor %}"
      "{%- if add_generation_prompt %}xyz{% endif %}";
  HttpDoor door(options);
  HttpClient client(door.address());
  auto request = saying("a");

  EXPECT_EQ(client.post("/tokenize", request).json()["count"], 5);
  request["add_generation_prompt"] = true;
  EXPECT_EQ(client.post("/tokenize", request).json()["count"], 5);
  request["add_generation_prompt"] = false;
  EXPECT_EQ(client.post("/tokenize", request).json()["count"], 2);
  request["add_generation_prompt"] = "no";
  EXPECT_EQ(client.post("/tokenize", request).status, 400);
}

TEST(Endpoints, TokensFieldsThatNobodyKnowsAreNamed) {
  HttpDoor door;
  HttpClient client(door.address());

  const Answer there = client.post(
      "/tokenize", {{"prompt", "abc"}, {"add_special_tokens", false}, {"return_token_str", true}});
  EXPECT_EQ(there.status, 200);
  EXPECT_EQ(there.headers.at("x-ignored-fields"), "return_token_str");
  const Answer back = client.post("/detokenize", {{"tokens", {97}}, {"skip", true}});
  EXPECT_EQ(back.headers.at("x-ignored-fields"), "skip");
  EXPECT_FALSE(client.post("/detokenize", {{"tokens", {97}}}).headers.contains("x-ignored-fields"));
}

TEST(Endpoints, ATextToTokenizeHasThePromptsBound) {
  HttpDoor::Options options;
  options.front.sessions.limits.prompt_bytes_max = 1'000;
  HttpDoor door(options);
  HttpClient client(door.address());

  EXPECT_EQ(client.post("/tokenize", {{"prompt", std::string(1'000, 'z')}}).status, 200);
  const Answer refused = client.post("/tokenize", {{"prompt", std::string(1'001, 'z')}});
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.json()["error"]["param"], "prompt");
  EXPECT_EQ(client.post("/tokenize", saying(std::string(1'000, 'z'))).status, 400);
}

TEST(Endpoints, WhatIsThrownEndsItsRequestAlone) {
  HttpDoor::Options options;
  options.readiness = []() -> coordinator::Readiness { throw std::bad_alloc(); };
  HttpDoor door(options);
  HttpClient client(door.address());

  // On the loop, and on a reader's thread.
  for (const char* path : {"/health", "/console/state"}) {
    const Answer failed = client.get(path);
    EXPECT_EQ(failed.status, 500) << path;
    EXPECT_EQ(failed.json()["error"]["type"], "server_error");
  }
  EXPECT_EQ(client.get("/version").status, 200);
}

TEST(Endpoints, OnlyJsonIsTaken) {
  HttpDoor door;
  HttpClient client(door.address());

  ASSERT_TRUE(
      client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
                  "Content-Length: 2\r\n\r\n{}"));
  EXPECT_EQ(client.read().status, 415);
  ASSERT_TRUE(client.send(HttpClient::post_text("/v1/completions", "{\"prompt\": ")));
  const Answer broken = client.read();
  EXPECT_EQ(broken.status, 400);
  EXPECT_NE(broken.json()["error"]["message"].get<std::string>().find("no JSON"),
            std::string::npos);
}

}  // namespace
}  // namespace mimo::http
