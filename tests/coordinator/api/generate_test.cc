#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/coordinator/api/front_door.h"

namespace mimo::coordinator {
namespace {

TEST(Generate, StreamsPromptTokensAndEnd) {
  FrontDoor door;
  auto stub = door.stub();
  auto request = text_request("hello ", 9);
  request.set_request_id("mine");
  request.mutable_sampling()->set_seed(77);

  Call call(*stub, request);

  ASSERT_TRUE(call.finish().ok()) << call.finish().error_message();
  ASSERT_EQ(call.record.prompts.size(), 1u);
  EXPECT_FALSE(call.record.prompt_late);
  EXPECT_EQ(call.record.prompts[0].seed(), 77u);
  EXPECT_EQ(call.record.prompts[0].token_ids_size(), 6);
  const auto& output = call.record.outputs[0];
  EXPECT_EQ(output.text, "hello hel");
  EXPECT_EQ(output.ids, bytes_of("hello hel"));
  ASSERT_EQ(output.finished.size(), 1u);
  EXPECT_EQ(output.finished[0].reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(call.record.usage.total_tokens(), 15);
  EXPECT_EQ(call.message.request_id(), "mine");
}

TEST(Generate, ChoosesIdAndSeedWhenTheClientDoesNot) {
  FrontDoor door;
  auto stub = door.stub();

  Call first(*stub, text_request("x", 1)), second(*stub, text_request("x", 1));

  ASSERT_TRUE(first.finish().ok());
  ASSERT_TRUE(second.finish().ok());
  EXPECT_FALSE(first.message.request_id().empty());
  EXPECT_NE(first.message.request_id(), second.message.request_id());
  EXPECT_NE(first.record.prompts[0].seed(), second.record.prompts[0].seed());
}

TEST(Generate, AStopTextFreesTheSequenceAtTheLeader) {
  FrontDoor door;
  auto stub = door.stub();
  auto request = text_request("abcdef.", 4000);
  request.mutable_stopping()->add_stop_text("f.a");

  Call call(*stub, request);

  ASSERT_TRUE(call.finish().ok());
  EXPECT_EQ(call.record.outputs[0].text, "abcde");
  EXPECT_EQ(call.record.outputs[0].finished.at(0).stop_text(), "f.a");
  EXPECT_TRUE(door.engine.wait_live(0));
}

TEST(Generate, SeveralOutputsEachEndOnce) {
  FrontDoor door;
  auto stub = door.stub();
  auto request = text_request("qwertz", 20);
  request.mutable_sampling()->set_num_sequences(5);

  Call call(*stub, request);

  ASSERT_TRUE(call.finish().ok());
  ASSERT_EQ(call.record.outputs.size(), 5u);
  for (const auto& [i, output] : call.record.outputs) {
    EXPECT_EQ(output.ids, bytes_of("qwertzqwertzqwertzqw"));
    EXPECT_EQ(output.finished.size(), 1u);
    EXPECT_FALSE(output.spoke_after_end);
  }
  EXPECT_EQ(call.record.usage.completion_tokens(), 100);
}

TEST(Generate, PromptScoresAndCandidatesArrive) {
  FrontDoor door;
  auto stub = door.stub();
  auto request = text_request("abcd", 2);  // "abc", "d"
  request.mutable_response()->set_prompt_candidates(1);
  request.mutable_response()->set_output_candidates(2);

  Call call(*stub, request);

  ASSERT_TRUE(call.finish().ok());
  const v1::PromptEvent& prompt = call.record.prompts.at(0);
  ASSERT_EQ(prompt.tokens_size(), 2);
  EXPECT_FALSE(prompt.tokens(0).has_logprob());
  EXPECT_EQ(prompt.tokens(0).token(), "abc");
  EXPECT_EQ(prompt.tokens(1).logprob(), -0.5f);
  EXPECT_EQ(prompt.tokens(1).candidates_size(), 1);
  EXPECT_EQ(call.record.outputs[0].tokens.at(0).candidates_size(), 2);
}

TEST(Generate, AStepIsOneMessageAndWhatWaitsGoesTogether) {
  auto options = FrontDoor::by_hand();
  FrontDoor door(options);
  auto stub = door.stub();
  Call call(*stub, text_request("0123456789", 50));
  ASSERT_TRUE(call.read());
  ASSERT_TRUE(call.message.has_prompt());

  for (int i = 0; i < 5; ++i) {
    door.engine.step();
    ASSERT_TRUE(call.read());
    EXPECT_EQ(call.message.token().tokens_size(), 1);
  }
  door.engine.step(45);

  ASSERT_TRUE(call.finish().ok());
  EXPECT_EQ(call.record.outputs[0].ids.size(), 50u);
}

TEST(Generate, LongTextBecomesIdsOnAnotherThread) {
  FrontDoor door;
  auto stub = door.stub();
  std::string text;
  for (int i = 0; i < 700; ++i) text += "abcabc ";

  Call call(*stub, text_request(text, 3));

  ASSERT_TRUE(call.finish().ok()) << call.finish().error_message();
  EXPECT_EQ(call.record.outputs[0].ids, (std::vector<int32_t>{257, 257, ' '}));
}

TEST(Generate, WithoutATokenizerIdsGoThroughAndTextDoesNot) {
  auto options = FrontDoor::options();
  options.with_tokenizer = false;
  FrontDoor door(options);
  auto stub = door.stub();
  v1::GenerateRequest ids;
  ids.mutable_token_ids()->add_ids(7);
  ids.mutable_stopping()->set_max_tokens(2);

  Call by_id(*stub, ids);
  Call by_text(*stub, text_request("hi", 2));

  ASSERT_TRUE(by_id.finish().ok());
  EXPECT_EQ(by_id.record.outputs[0].ids, (std::vector<int32_t>{7, 7}));
  EXPECT_EQ(by_id.record.outputs[0].text, "");
  EXPECT_EQ(by_text.finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  ASSERT_EQ(by_text.record.errors.size(), 1u);
  EXPECT_EQ(by_text.record.errors[0].code(), v1::ERROR_CODE_UNSUPPORTED_FEATURE);
}

TEST(Generate, BadFieldsAreNamedInTheErrorEventAndTheStatus) {
  FrontDoor door;
  auto stub = door.stub();
  auto request = text_request("hi", 2);
  request.mutable_sampling()->set_top_p(1.5f);

  Call call(*stub, request);

  EXPECT_EQ(call.finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(call.finish().error_message(), "sampling.top_p = 1.5: expected (0, 1]");
  ASSERT_EQ(call.record.errors.size(), 1u);
  EXPECT_EQ(call.record.errors[0].code(), v1::ERROR_CODE_INVALID_ARGUMENT);
  EXPECT_FALSE(call.record.errors[0].retryable());
  EXPECT_EQ(call.status_event().message(), call.finish().error_message());
  EXPECT_LT(call.retry_after_s(), 0);
  EXPECT_EQ(door.admission.num_requests(), 0);
}

TEST(Generate, APromptThatIsTooLongIsRefusedBeforeTheLeaderHearsOfIt) {
  auto options = FrontDoor::by_hand();
  options.sessions.limits.positions_max = 8;
  FrontDoor door(options);
  auto stub = door.stub();

  Call call(*stub, text_request("12345678", 1));

  EXPECT_EQ(call.finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(door.engine.num_live(), 0);
}

TEST(Generate, ManyClientsAtOnceEachGetTheirOwn) {
  FrontDoor door;
  std::vector<std::thread> clients;
  std::vector<std::string> failures(16);
  for (size_t c = 0; c < failures.size(); ++c) {
    clients.emplace_back([&, c] {
      auto stub = door.stub();
      for (int round = 0; round < 5; ++round) {
        const std::string text = std::to_string(c) + "-" + std::to_string(round) + ";";
        Call call(*stub, text_request(text, 100));
        std::string expected;
        while (expected.size() < 100) expected += text;
        expected.resize(100);
        if (!call.finish().ok()) failures[c] = call.finish().error_message();
        if (call.record.outputs[0].text != expected) failures[c] = "text differs";
      }
    });
  }
  for (auto& client : clients) client.join();

  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
  EXPECT_TRUE(door.engine.wait_live(0));
  EXPECT_TRUE(door.admission.wait_empty(std::chrono::seconds(10)));
}

}  // namespace
}  // namespace mimo::coordinator
