#include "coordinator/http/completion_request.h"

#include <gtest/gtest.h>

namespace mimo::http {
namespace {

std::optional<ApiError> read(const char* text, CompletionCall* call) {
  return read_completion(Json::parse(text), {64, 48, 100}, call);
}

std::string param_of(const char* text) {
  CompletionCall call;
  const auto error = read(text, &call);
  return error ? error->param : "(taken)";
}

TEST(CompletionRequest, EachPromptIsARequest) {
  CompletionCall call;

  ASSERT_FALSE(read(R"({"prompt": ["a", "b"], "n": 3, "seed": 5, "request_id": "r"})", &call));

  ASSERT_EQ(call.requests.size(), 2u);
  EXPECT_EQ(call.num_outputs, 3);
  EXPECT_EQ(call.requests[0].text(), "a");
  EXPECT_EQ(call.requests[1].text(), "b");
  EXPECT_EQ(call.requests[1].sampling().seed(), 5u);
  EXPECT_EQ(call.requests[0].request_id(), "r");
  EXPECT_EQ(call.requests[1].request_id(), "r-1");
  EXPECT_EQ(call.requests[0].stopping().max_tokens(), 16);
}

TEST(CompletionRequest, IdsMayBeOneOrSeveralPrompts) {
  CompletionCall one;
  ASSERT_FALSE(read(R"({"prompt": [1, 2, 3]})", &one));
  ASSERT_EQ(one.requests.size(), 1u);
  EXPECT_EQ(one.requests[0].token_ids().ids_size(), 3);

  CompletionCall two;
  ASSERT_FALSE(read(R"({"prompt": [[1], [2, 3]]})", &two));
  ASSERT_EQ(two.requests.size(), 2u);
  EXPECT_EQ(two.requests[1].token_ids().ids(1), 3);
}

TEST(CompletionRequest, EchoWithLogprobsAsksForThePromptsScores) {
  CompletionCall call;

  ASSERT_FALSE(read(R"({"prompt": "a", "echo": true, "logprobs": 0, "max_tokens": 0})", &call));

  EXPECT_TRUE(call.only_prompt);
  EXPECT_EQ(call.requests[0].stopping().max_tokens(), 1);
  EXPECT_TRUE(call.requests[0].response().has_prompt_candidates());
  EXPECT_TRUE(call.requests[0].response().has_output_candidates());
}

TEST(CompletionRequest, OutputsAreCountedBeforeTheyHavePlaces) {
  for (const char* n : {"-1", "0", "65", "20000000", "-2147483648", "2147483647", "1e12"})
    EXPECT_EQ(param_of((std::string(R"({"prompt": "a", "n": )") + n + "}").c_str()), "n") << n;
  EXPECT_EQ(param_of(R"({"prompt": "a", "n": 64})"), "(taken)");
}

TEST(CompletionRequest, WhatIsNeverLetInTogetherIsRefused) {
  const auto prompts = [](int32_t count, int32_t n) {
    Json body = {{"prompt", std::vector<std::string>(static_cast<size_t>(count), "a")}, {"n", n}};
    return param_of(body.dump().c_str());
  };

  EXPECT_EQ(prompts(48, 2), "(taken)");
  EXPECT_EQ(prompts(48, 3), "n");
  EXPECT_EQ(prompts(2, 51), "n");
  EXPECT_EQ(prompts(49, 1), "prompt");
}

TEST(CompletionRequest, BadPromptsAreNamed) {
  EXPECT_EQ(param_of("{}"), "prompt");
  EXPECT_EQ(param_of(R"({"prompt": 5})"), "prompt");
  EXPECT_EQ(param_of(R"({"prompt": [1, "a"]})"), "prompt[1]");
  EXPECT_EQ(param_of(R"({"prompt": ["a", 1]})"), "prompt[1]");
  EXPECT_EQ(param_of(R"({"prompt": [[1], [-1]]})"), "prompt[1][0]");
  EXPECT_EQ(param_of(R"({"prompt": "a", "suffix": "b"})"), "suffix");
  EXPECT_EQ(param_of(R"({"prompt": "a", "suffix": ""})"), "(taken)");
  EXPECT_EQ(param_of(R"({"prompt": "a", "best_of": 2})"), "best_of");
  EXPECT_EQ(param_of(R"({"prompt": "a", "best_of": 2, "n": 2})"), "(taken)");
  EXPECT_EQ(param_of(R"({"prompt": "a", "use_beam_search": true})"), "use_beam_search");
  EXPECT_EQ(param_of(R"({"prompt": "a", "logprobs": "x"})"), "logprobs");
}

}  // namespace
}  // namespace mimo::http
