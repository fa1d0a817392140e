// What may happen to a connection: bounds, time, order, and clients that go.
#include <gtest/gtest.h>

#include "tests/coordinator/http/http_door.h"

namespace mimo::http {
namespace {

HttpDoor::Options by_hand() {
  HttpDoor::Options options;
  options.front.engine.by_hand = true;
  return options;
}

std::string completion(const std::string& rest) {
  return HttpClient::post_text("/v1/completions", R"({"prompt": "hey", )" + rest + "}");
}

TEST(Connection, AClientThatGoesEndsItsRequest) {
  for (const char* stream : {"false", "true"}) {
    HttpDoor door(by_hand());
    HttpClient client(door.address());
    ASSERT_TRUE(client.send(completion(std::string("\"n\": 2, \"stream\": ") + stream)));
    ASSERT_TRUE(door.front.engine.wait_live(2));

    client.close();

    EXPECT_TRUE(door.front.engine.wait_live(0)) << stream;
    EXPECT_TRUE(door.front.admission.wait_empty(std::chrono::seconds(10)));
  }
}

TEST(Connection, ItsClientGoesInMidStream) {
  HttpDoor door(by_hand());
  HttpClient client(door.address());
  ASSERT_TRUE(client.send(completion("\"stream\": true")));
  ASSERT_TRUE(door.front.engine.wait_live(1));
  door.front.engine.step();
  ASSERT_TRUE(client.read_until("\"text\":\"h\""));

  client.close();

  EXPECT_TRUE(door.front.engine.wait_live(0));
}

TEST(Connection, RequestsSentAheadAreAnsweredInOrder) {
  HttpDoor door;
  HttpClient client(door.address());
  std::string all;
  for (int i = 0; i < 20; ++i)
    all += HttpClient::post_text("/v1/completions", "{\"prompt\": \"" + std::to_string(100 + i) +
                                                        "\", \"max_tokens\": 3, \"stream\": " +
                                                        (i % 2 == 0 ? "true}" : "false}"));
  ASSERT_TRUE(client.send(all));

  for (int i = 0; i < 20; ++i) {
    const Answer answer = client.read();
    ASSERT_EQ(answer.status, 200);
    std::string text;
    if (i % 2 == 0) {
      for (const std::string& event : answer.events())
        if (event != "[DONE]")
          text += nlohmann::json::parse(event)["choices"][0]["text"].get<std::string>();
    } else {
      text = answer.json()["choices"][0]["text"];
    }
    EXPECT_EQ(text, std::to_string(100 + i));
  }
}

TEST(Connection, ARequestMayComeByteByByte) {
  HttpDoor door;
  HttpClient client(door.address());
  for (const char byte : completion("\"max_tokens\": 3")) ASSERT_TRUE(client.send({&byte, 1}));

  EXPECT_EQ(client.read().json()["choices"][0]["text"], "hey");
}

TEST(Connection, AChunkedBodyIsABody) {
  HttpDoor door;
  HttpClient client(door.address());
  ASSERT_TRUE(
      client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "f\r\n{\"prompt\": \"hey\r\n13\r\n\", \"max_tokens\": 3}\r\n0\r\n\r\n"));

  EXPECT_EQ(client.read().json()["choices"][0]["text"], "hey");
}

TEST(Connection, WhoExpectsToBeToldToGoOnIs) {
  HttpDoor door;
  HttpClient client(door.address());
  const std::string body = R"({"prompt": "hey", "max_tokens": 3})";
  ASSERT_TRUE(
      client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                  "Content-Length: " +
                  std::to_string(body.size()) + "\r\n\r\n"));
  EXPECT_EQ(client.read(/*head_only=*/true).status, 100);
  ASSERT_TRUE(client.send(body));

  EXPECT_EQ(client.read().json()["choices"][0]["text"], "hey");
}

TEST(Connection, WhoIsToldToGoOnHasNoMoreTimeThanOthers) {
  HttpDoor::Options options;
  options.http.request_timeout_s = 0.5;
  options.http.write_timeout_s = 15.0;
  HttpDoor door(options);
  HttpClient client(door.address());
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_TRUE(
      client.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                  "Content-Length: 10\r\n\r\n"));
  EXPECT_EQ(client.read(/*head_only=*/true).status, 100);

  EXPECT_EQ(client.read().status, 408);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
}

TEST(Connection, WhatIsNoRequestIsRefusedAndClosed) {
  for (const char* words :
       {"hello\r\n\r\n", "GET / HTTP/3.1\r\n\r\n", "GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nContent-Length: -4\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    HttpDoor door;
    HttpClient client(door.address());
    ASSERT_TRUE(client.send(words));

    const Answer refused = client.read();

    EXPECT_TRUE(refused.status == 400 || refused.status == 505) << words;
    EXPECT_EQ(refused.json()["error"]["type"], "invalid_request_error") << words;
    EXPECT_EQ(refused.headers.at("connection"), "close");
    EXPECT_TRUE(client.at_end());
  }
}

TEST(Connection, TooMuchIsRefusedBeforeItIsRead) {
  HttpDoor::Options options;
  options.http.body_bytes_max = 10'000;
  options.http.header_bytes_max = 2'000;
  HttpDoor door(options);

  HttpClient client(door.address());
  ASSERT_TRUE(client.send("POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 10001\r\n\r\n"));
  const Answer large = client.read();
  EXPECT_EQ(large.status, 413);
  EXPECT_EQ(large.json()["error"]["code"], "body_too_large");

  HttpClient chunks(door.address());
  std::string body = "POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 11; ++i) body += "3e8\r\n" + std::string(1000, 'x') + "\r\n";
  ASSERT_TRUE(chunks.send(body));
  EXPECT_EQ(chunks.read().status, 413);

  HttpClient header(door.address());
  ASSERT_TRUE(header.send("GET /health HTTP/1.1\r\nX: " + std::string(3000, 'x') + "\r\n\r\n"));
  EXPECT_EQ(header.read().status, 431);
}

TEST(Connection, WhatStandsBesideAChunkedBodyIsBounded) {
  HttpDoor::Options options;
  options.http.header_bytes_max = 2'000;
  options.http.request_timeout_s = 2.0;
  HttpDoor door(options);
  const std::string head = "POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";

  for (const char* begun : {"1;", "2\r\n{}\r\n0\r\nX: ", "2;x=\"", "2\r\n{}\r\n1;x="}) {
    HttpClient client(door.address());
    ASSERT_TRUE(client.send(head + begun));
    ASSERT_TRUE(client.send(std::string(40'000, 'a')));

    EXPECT_EQ(client.read().status, 431) << begun;
    EXPECT_TRUE(client.at_end());
  }
}

TEST(Connection, DeepAndOddJsonIsRefused) {
  HttpDoor door;
  HttpClient client(door.address());
  const std::string deep = R"({"prompt": )" + std::string(100'000, '[') + "}";
  for (const std::string& body :
       {deep, std::string("[]"), std::string("{\"prompt\": \"\xff\"}"), std::string("null")}) {
    ASSERT_TRUE(client.send(HttpClient::post_text("/v1/completions", body)));
    EXPECT_EQ(client.read().status, 400);
  }
}

TEST(Connection, TimeIsUpForWhoSaysNothingOrTooSlowly) {
  HttpDoor::Options options;
  options.http.idle_timeout_s = 0.3;
  options.http.request_timeout_s = 0.3;
  HttpDoor door(options);
  HttpClient idle(door.address());
  HttpClient slow(door.address());
  ASSERT_TRUE(slow.send("POST /tokenize HTTP/1.1\r\nContent-Le"));

  EXPECT_TRUE(idle.at_end());
  EXPECT_EQ(slow.read().status, 408);
  EXPECT_TRUE(slow.at_end());
}

TEST(Connection, AnAnswerMayTakeLongerThanARequest) {
  auto options = by_hand();
  options.http.idle_timeout_s = options.http.request_timeout_s = 0.1;
  options.http.write_timeout_s = 0.1;
  HttpDoor door(options);
  HttpClient client(door.address());
  HttpClient watch(door.address());
  ASSERT_TRUE(client.send(completion("\"max_tokens\": 1")));
  ASSERT_TRUE(door.front.engine.wait_live(1));
  ASSERT_TRUE(watch.at_end());  // so long that an idle one is closed

  door.front.engine.step();

  EXPECT_EQ(client.read().status, 200);
}

TEST(Connection, AReaderThatStopsEndsItsStreamAndNobodyElses) {
  HttpDoor::Options options;
  options.front.sessions.limits.positions_max = 10'000'000;
  options.front.sessions.stream_bytes_max = 1 << 20;
  options.http.write_timeout_s = 0.5;
  HttpDoor door(options);
  HttpClient stopped(door.address(), /*receive_bytes=*/4096);
  ASSERT_TRUE(stopped.send(completion("\"max_tokens\": 9000000, \"stream\": true")));
  ASSERT_TRUE(door.front.engine.wait_live(1));

  HttpClient other(door.address());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(other.send(completion("\"max_tokens\": 3")));
    EXPECT_EQ(other.read().json()["choices"][0]["text"], "hey");
  }

  EXPECT_TRUE(door.front.engine.wait_live(0));
  EXPECT_TRUE(door.front.admission.wait_empty(std::chrono::seconds(20)));
}

TEST(Connection, FurtherOnesWaitForAPlace) {
  HttpDoor::Options options;
  options.http.connections_max = 2;
  HttpDoor door(options);
  auto first = std::make_unique<HttpClient>(door.address());
  HttpClient second(door.address());
  EXPECT_EQ(first->get("/health").status, 200);
  EXPECT_EQ(second.get("/health").status, 200);
  HttpClient third(door.address());
  ASSERT_TRUE(third.send("GET /health HTTP/1.1\r\n\r\n"));

  first.reset();

  EXPECT_EQ(third.read().status, 200);
}

TEST(Connection, WhoAsksToBeClosedIs) {
  HttpDoor door;
  HttpClient client(door.address());
  ASSERT_TRUE(client.send("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"));
  EXPECT_EQ(client.read().status, 200);
  EXPECT_TRUE(client.at_end());

  HttpClient old(door.address());
  const std::string body = R"({"prompt": "hey", "max_tokens": 3, "stream": true})";
  ASSERT_TRUE(old.send("POST /v1/completions HTTP/1.0\r\nContent-Length: " +
                       std::to_string(body.size()) + "\r\n\r\n" + body));
  const Answer answer = old.read();
  EXPECT_FALSE(answer.headers.contains("transfer-encoding"));
  EXPECT_EQ(answer.events().back(), "[DONE]");
}

TEST(Connection, AStopEndsWhatRunsWithAnError) {
  auto door = std::make_unique<HttpDoor>(by_hand());
  HttpClient idle(door->address());
  HttpClient running(door->address());
  HttpClient waiting(door->address());
  EXPECT_EQ(idle.get("/health").status, 200);
  ASSERT_TRUE(running.send(completion("\"stream\": true")));
  ASSERT_TRUE(door->front.engine.wait_live(1));
  door->front.engine.step();
  ASSERT_TRUE(running.read_until("\"text\":\"h\""));
  ASSERT_TRUE(waiting.send(completion("\"stream\": false")));
  ASSERT_TRUE(door->front.engine.wait_live(2));

  door.reset();

  EXPECT_TRUE(idle.at_end());
  const Answer cut = running.read();
  EXPECT_FALSE(cut.whole);
  EXPECT_NE(cut.body.find("the server is draining"), std::string::npos);
  EXPECT_EQ(waiting.read().status, 503);
}

}  // namespace
}  // namespace mimo::http
