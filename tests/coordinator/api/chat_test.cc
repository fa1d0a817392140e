// mimo.v1.Chat over gRPC: the same turns as over HTTP, the same ends of streams as Generate's.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "mimo/v1/chat.grpc.pb.h"
#include "tests/coordinator/api/front_door.h"

namespace mimo::coordinator {
namespace {

v1::ChatRequest saying(const std::string& text) {
  v1::ChatRequest request;
  v1::ChatMessage* message = request.add_messages();
  message->set_role("user");
  message->set_content(text + "<end>");
  return request;
}

struct Reply {
  std::string content, reasoning;
  std::vector<v1::ChatFinished> finished;
  std::vector<v1::ErrorEvent> errors;
  int num_prompts = 0;
  v1::Usage usage;
  grpc::Status status;

  void add(const v1::ChatDelta& delta) {
    content += delta.content();
    reasoning += delta.reasoning_content();
  }
};

class ChatServer : public ::testing::Test {
 protected:
  void start(const FrontDoor::Options& options = FrontDoor::with_chat()) {
    door_ = std::make_unique<FrontDoor>(options);
    stub_ = v1::Chat::NewStub(
        grpc::CreateChannel(door_->server->address(), grpc::InsecureChannelCredentials()));
  }

  std::unique_ptr<grpc::ClientReader<v1::ChatResponse>> begin(const v1::ChatRequest& request) {
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return stub_->Complete(context_.get(), request);
  }

  Reply ask(const v1::ChatRequest& request) {
    Reply reply;
    const auto reader = begin(request);
    v1::ChatResponse event;
    while (reader->Read(&event)) {
      reply.num_prompts += event.has_prompt();
      if (event.has_delta()) reply.add(event.delta());
      if (event.has_finished()) {
        reply.add(event.finished().last());
        reply.finished.push_back(event.finished());
      }
      if (event.has_error()) reply.errors.push_back(event.error());
      if (event.has_usage()) reply.usage = event.usage();
    }
    reply.status = reader->Finish();
    return reply;
  }

  template <typename Response, typename Request>
  grpc::Status call(grpc::Status (v1::Chat::Stub::*method)(grpc::ClientContext*, const Request&,
                                                           Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return ((*stub_).*method)(&context, request, response);
  }

  std::unique_ptr<FrontDoor> door_;
  std::unique_ptr<v1::Chat::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
};

TEST_F(ChatServer, ThoughtsAndContentComeApart) {
  start();

  const Reply reply = ask(saying("<think>hm</think>good day"));

  EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
  EXPECT_EQ(reply.num_prompts, 1);
  EXPECT_EQ(reply.content, "good day");
  EXPECT_EQ(reply.reasoning, "hm");
  ASSERT_EQ(reply.finished.size(), 1u);
  EXPECT_EQ(reply.finished[0].reason(), v1::ChatFinished::STOP);
  EXPECT_EQ(reply.usage.prompt_tokens(), reply.usage.completion_tokens());
  EXPECT_GT(reply.usage.reasoning_tokens(), 0);
}

TEST_F(ChatServer, EveryOutputFinishes) {
  start();
  v1::ChatRequest request = saying("hey");
  request.mutable_sampling()->set_num_sequences(4);

  const Reply reply = ask(request);

  EXPECT_TRUE(reply.status.ok());
  EXPECT_EQ(reply.finished.size(), 4u);
  EXPECT_EQ(reply.content.size(), 12u);
}

TEST_F(ChatServer, RefusalsAreAnEventAndAStatus) {
  start();
  v1::ChatRequest refused;
  refused.add_messages()->set_role("refused");
  v1::ChatRequest other_model = saying("x");
  other_model.set_model("large");
  v1::ChatRequest bad_field = saying("x");
  bad_field.mutable_sampling()->set_temperature(-1);
  const std::pair<v1::ChatRequest, grpc::StatusCode> cases[] = {
      {refused, grpc::StatusCode::INVALID_ARGUMENT},
      {v1::ChatRequest(), grpc::StatusCode::INVALID_ARGUMENT},
      {other_model, grpc::StatusCode::NOT_FOUND},
      {bad_field, grpc::StatusCode::INVALID_ARGUMENT},
  };
  for (const auto& [request, code] : cases) {
    const Reply reply = ask(request);
    EXPECT_EQ(reply.status.error_code(), code) << reply.status.error_message();
    ASSERT_EQ(reply.errors.size(), 1u);
    EXPECT_EQ(reply.errors[0].message(), reply.status.error_message());
  }
}

TEST_F(ChatServer, WithoutATemplateItIsUnimplemented) {
  start(FrontDoor::options());

  EXPECT_EQ(ask(saying("x")).status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(ChatServer, ACancelEndsTheSequences) {
  auto options = FrontDoor::with_chat();
  options.engine.by_hand = true;
  start(options);
  const auto reader = begin(saying("hey you"));
  ASSERT_TRUE(door_->engine.wait_live(1));
  door_->engine.step(2);
  v1::ChatResponse event;
  ASSERT_TRUE(reader->Read(&event));

  context_->TryCancel();

  EXPECT_TRUE(door_->engine.wait_live(0));
  while (reader->Read(&event)) continue;
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ChatServer, AFailureInMidStreamIsTold) {
  auto options = FrontDoor::with_chat();
  options.engine.by_hand = true;
  start(options);
  const auto reader = begin(saying("hey you"));
  ASSERT_TRUE(door_->engine.wait_live(1));
  door_->engine.step(2);

  door_->engine.lose(unavailable("worker w1 is gone"));

  v1::ChatResponse event;
  while (reader->Read(&event)) continue;
  EXPECT_TRUE(event.has_error());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ChatServer, LargeConversationsAreTheSame) {
  auto options = FrontDoor::with_chat();
  options.sessions.limits.positions_max = 100'000;
  start(options);
  const std::string text(20'000, 'z');
  v1::ChatRequest request = saying(text);

  const Reply reply = ask(request);
  EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
  EXPECT_EQ(reply.content, text);
  request.mutable_messages(0)->set_role("refused");
  const Reply refused = ask(request);
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(refused.errors.size(), 1u);
}

TEST_F(ChatServer, ClientsThatGoWhileTheyAreReadLeaveNothingBehind) {
  auto options = FrontDoor::with_chat();
  options.engine.by_hand = true;
  options.sessions.limits.positions_max = 100'000;
  start(options);
  const v1::ChatRequest request = saying(std::string(20'000, 'z'));
  for (int i = 0; i < 200; ++i) {
    const auto reader = begin(request);
    if (i % 3 == 1) std::this_thread::yield();
    if (i % 3 == 2) {
      ASSERT_TRUE(door_->engine.wait_live(1));
    }
    context_->TryCancel();
    v1::ChatResponse event;
    while (reader->Read(&event)) continue;
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
    ASSERT_TRUE(door_->engine.wait_live(0));
  }

  EXPECT_TRUE(door_->admission.wait_empty(std::chrono::seconds(10)));
}

TEST_F(ChatServer, TextsHaveThePromptsBound) {
  auto options = FrontDoor::with_chat();
  options.sessions.limits.prompt_bytes_max = 1'000;
  start(options);
  v1::RenderResponse rendered;
  EXPECT_EQ(call(&v1::Chat::Stub::Render, saying(std::string(1'000, 'z')), &rendered).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(call(&v1::Chat::Stub::Render, saying(std::string(995, 'z')), &rendered).ok());

  v1::TokenizeRequest text;
  v1::TokenizeResponse tokens;
  text.set_text(std::string(1'000, 'z'));
  EXPECT_TRUE(call(&v1::Chat::Stub::Tokenize, text, &tokens).ok());
  for (const size_t size : {size_t{1'001}, size_t{10'000}}) {
    text.set_text(std::string(size, 'z'));
    const grpc::Status refused = call(&v1::Chat::Stub::Tokenize, text, &tokens);
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_NE(refused.error_message().find("text = "), std::string::npos);
  }
}

TEST_F(ChatServer, RendersAndTokenizes) {
  start();

  v1::RenderResponse rendered;
  ASSERT_TRUE(call(&v1::Chat::Stub::Render, saying("abc"), &rendered).ok());
  EXPECT_EQ(rendered.text(), "abc<end>");
  EXPECT_EQ(std::vector<int32_t>(rendered.token_ids().begin(), rendered.token_ids().end()),
            (std::vector<int32_t>{257, 300}));

  v1::TokenizeRequest text;
  text.set_text("abc x");
  text.set_with_tokens(true);
  v1::TokenizeResponse tokens;
  ASSERT_TRUE(call(&v1::Chat::Stub::Tokenize, text, &tokens).ok());
  EXPECT_EQ(tokens.token_ids_size(), 3);
  EXPECT_EQ(tokens.tokens(0), "abc");
  EXPECT_EQ(tokens.max_positions(), 4096);

  v1::DetokenizeRequest ids;
  ids.mutable_token_ids()->Add(257);
  ids.mutable_token_ids()->Add(300);
  v1::DetokenizeResponse back;
  ASSERT_TRUE(call(&v1::Chat::Stub::Detokenize, ids, &back).ok());
  EXPECT_EQ(back.text(), "abc<end>");
  ids.mutable_token_ids()->Add(301);
  const grpc::Status refused = call(&v1::Chat::Stub::Detokenize, ids, &back);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(refused.error_message().find("token_ids[2] = 301"), std::string::npos);
}

}  // namespace
}  // namespace mimo::coordinator
