#include "node/service/leader_service.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "tests/node/engine/engine_world.h"
#include "tests/node/engine/fake_rank.h"

namespace mimo::node {
namespace {

const SystemClock kClock;
constexpr int64_t kWaitingBytesMax = 1 << 20;

using ClientStream = grpc::ClientReaderWriter<v1::LeaderRequest, v1::LeaderEvents>;

// An engine on a made-up rank behind the service, and a client that blocks.
class LeaderServiceTest : public ::testing::Test {
 protected:
  LeaderServiceTest() : options_(small_options()), rank_({.engine = options_}) {
    Engine::Hooks hooks;
    hooks.on_events = [this](std::vector<SequenceEvent> events) {
      desk_.on_events(std::move(events));
    };
    hooks.on_step = [this](const EngineStats& stats) { desk_.on_step(stats.step); };
    engine_ = Engine::create(options_, std::move(hooks), gated_, kClock).value();
    desk_.offer(kEpoch, *engine_);
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    stub_ = v1::Leader::NewStub(grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                                    grpc::InsecureChannelCredentials()));
  }
  ~LeaderServiceTest() override {
    hold_after_first_step(false);
    desk_.withdraw(kEpoch, unavailable("the test ends"));
    engine_->stop();
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  }

  void hold_after_first_step(bool held) {
    std::lock_guard lock(gate_mutex_);
    held_ = held;
    gate_changed_.notify_all();
  }
  Result<void> pass(const StepPlan& plan) {
    std::unique_lock lock(gate_mutex_);
    const bool passed = gate_changed_.wait_for(lock, std::chrono::seconds(60),
                                               [&] { return !held_ || plan.step == 0; });
    if (passed) return {};
    return unavailable("nobody let the step pass");
  }

  std::unique_ptr<ClientStream> serve(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    return stub_->Serve(&context);
  }
  static v1::LeaderRequest open_request(int64_t epoch) {
    v1::LeaderRequest request;
    request.mutable_open()->set_epoch(epoch);
    return request;
  }
  static v1::LeaderRequest submit_request(int64_t id, int32_t max_tokens) {
    v1::LeaderRequest request;
    v1::Submit& submit = *request.mutable_submit();
    submit.set_sequence_id(id);
    for (int32_t token : {5, 6, 7}) submit.add_prompt(token);
    submit.set_top_p(1);
    submit.set_repetition_penalty(1);
    submit.set_max_tokens(max_tokens);
    submit.set_num_logprobs(-1);
    submit.set_num_prompt_logprobs(-1);
    return request;
  }
  // Opened and acknowledged.
  std::unique_ptr<ClientStream> serve_opened(grpc::ClientContext& context) {
    auto stream = serve(context);
    stream->Write(open_request(kEpoch.value));
    v1::LeaderEvents first;
    EXPECT_TRUE(stream->Read(&first));
    EXPECT_EQ(first.events_size(), 0);
    return stream;
  }

  static constexpr Epoch kEpoch{7};
  const Engine::Options options_;
  FakeRank rank_;
  GatedExecutor gated_{rank_, [this](const StepPlan& plan) { return pass(plan); }};
  std::mutex gate_mutex_;
  std::condition_variable gate_changed_;
  bool held_ = false;
  LeaderDesk desk_;
  std::unique_ptr<Engine> engine_;
  LeaderService service_{desk_, kWaitingBytesMax};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Leader::Stub> stub_;
};

TEST_F(LeaderServiceTest, CarriesASequenceFromItsPromptToItsEnd) {
  grpc::ClientContext context;
  auto stream = serve_opened(context);

  stream->Write(submit_request(1, 20));

  std::vector<int32_t> tokens;
  int32_t finish = 0;
  v1::LeaderEvents events;
  while (finish == 0 && stream->Read(&events)) {
    for (const v1::LeaderEvent& event : events.events()) {
      EXPECT_EQ(event.sequence_id(), 1);
      for (const v1::Choice& token : event.tokens()) tokens.push_back(token.id());
      finish = event.finish();
    }
  }
  EXPECT_EQ(finish, static_cast<int32_t>(FinishReason::kLength));
  EXPECT_EQ(tokens.size(), 20u);
}

TEST_F(LeaderServiceTest, AnotherEpochIsRefused) {
  grpc::ClientContext context;
  auto stream = serve(context);
  stream->Write(open_request(6));

  const grpc::Status status = stream->Finish();

  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_NE(status.error_message().find("epoch 6 is not served"), std::string::npos);
}

TEST_F(LeaderServiceTest, ASecondStreamOfTheEpochIsRefused) {
  grpc::ClientContext first_context, second_context;
  auto first = serve_opened(first_context);
  auto second = serve(second_context);
  second->Write(open_request(kEpoch.value));

  EXPECT_EQ(second->Finish().error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

TEST_F(LeaderServiceTest, WhateverComesBeforeOpenIsRefused) {
  grpc::ClientContext context;
  auto stream = serve(context);
  stream->Write(submit_request(1, 1));

  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(LeaderServiceTest, ARefusedSequenceEndsWithTheEnginesReason) {
  grpc::ClientContext context;
  auto stream = serve_opened(context);
  v1::LeaderRequest request = submit_request(1, 1);
  request.mutable_submit()->add_prompt(1 << 20);
  stream->Write(request);

  v1::LeaderEvents events;
  ASSERT_TRUE(stream->Read(&events));

  ASSERT_EQ(events.events_size(), 1);
  EXPECT_EQ(events.events(0).finish(), static_cast<int32_t>(FinishReason::kError));
  EXPECT_EQ(events.events(0).error_code(), static_cast<int32_t>(Code::kInvalidArgument));
}

TEST_F(LeaderServiceTest, TheStreamsEndEndsItsSequencesAndFreesTheEpoch) {
  grpc::ClientContext context;
  auto stream = serve_opened(context);
  stream->Write(submit_request(1, 190));
  v1::LeaderEvents events;
  ASSERT_TRUE(stream->Read(&events));

  context.TryCancel();
  stream->Finish();

  // A new stream is let in once the old one's end has come through; then nothing may run.
  bool opened = false;
  for (int32_t i = 0; i < 1000 && !opened; ++i) {
    grpc::ClientContext next_context;
    auto next = serve(next_context);
    next->Write(open_request(kEpoch.value));
    opened = next->Read(&events);
    if (!opened) {
      EXPECT_EQ(next->Finish().error_code(), grpc::StatusCode::ALREADY_EXISTS);
      continue;
    }
    next->Write(submit_request(2, 1));
    int32_t finish = 0;
    while (finish == 0 && next->Read(&events)) {
      for (const v1::LeaderEvent& event : events.events()) {
        EXPECT_EQ(event.sequence_id(), 2);
        finish = event.finish();
      }
    }
    EXPECT_NE(finish, 0);
  }
  EXPECT_TRUE(opened);
}

TEST_F(LeaderServiceTest, TheEpochsEndEndsTheStreamWithItsReason) {
  grpc::ClientContext context;
  auto stream = serve_opened(context);

  desk_.withdraw(kEpoch, unavailable("rank 1 is lost"));

  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "rank 1 is lost");
}

TEST_F(LeaderServiceTest, ACoordinatorThatDoesNotReadLosesItsStreamAndIsTold) {
  grpc::ClientContext context;
  auto stream = serve_opened(context);
  hold_after_first_step(true);
  stream->Write(submit_request(1, 190));
  v1::LeaderEvents events;
  ASSERT_TRUE(stream->Read(&events));  // the sequence runs, and the engine stands still
  SequenceEvent event;
  event.id = SequenceId{1};
  event.prompt_scores.resize(20'000);
  for (kernels::TokenChoice& score : event.prompt_scores) score.id = score.rank = 1;

  for (int32_t i = 0; i < 100; ++i) desk_.on_events({event});

  int32_t num_read = 0;
  while (stream->Read(&events)) ++num_read;
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_LT(num_read, 100);
}

}  // namespace
}  // namespace mimo::node
