#include <gtest/gtest.h>

#include <limits>

#include "tests/node/engine/engine_world.h"

namespace mimo::node {
namespace {

template <typename Check>
void expect_refused(const Check& checked, const std::string& part) {
  ASSERT_FALSE(checked.ok()) << part;
  EXPECT_EQ(checked.error().code, Code::kInvalidArgument);
  EXPECT_NE(checked.error().message.find(part), std::string::npos) << checked.error().message;
}

TEST(EngineOptions, RefusesWhatCannotWork) {
  const auto refuses = [](auto change, const std::string& part) {
    Engine::Options options = small_options();
    change(options);
    expect_refused(options.validate(), part);
  };

  ASSERT_TRUE(small_options().validate().ok());
  refuses([](auto& o) { o.sequences_max = 0; }, "sequences_max is 0");
  refuses([](auto& o) { o.waiting_max = 0; }, "waiting_max is 0");
  refuses([](auto& o) { o.batch_tokens_max = 3; }, "batch_tokens_max is 3, expected 4");
  refuses([](auto& o) { o.prefill_chunk_max = 0; }, "prefill_chunk_max is 0");
  refuses([](auto& o) { o.positions_max = 1; }, "positions_max is 1");
  refuses([](auto& o) { o.vocab = 0; }, "vocab is 0");
  refuses([](auto& o) { o.has_full = o.has_window = false; }, "has_full and has_window");
  refuses([](auto& o) { std::swap(o.full, o.window); }, "full.kind is window");
  refuses([](auto& o) { o.full_pages = 0; }, "full num_pages is 0");
  refuses([](auto& o) { o.window.page_tokens = 17; }, "page_tokens is 17");
}

TEST(EngineOptions, AConstraintAloneSaysWhereItsOutputEnds) {
  Engine::Options options = small_options();
  SequenceRequest request = small_request(1);
  request.constraint = {.kind = grammar::Spec::Kind::kJsonObject};
  request.sampling.stop_ids = {2};

  EXPECT_EQ(options.check(request).error().code, Code::kUnimplemented);
  options.constraints = true;
  ASSERT_TRUE(options.check(request).ok());
  request.sampling.min_tokens = 3;
  expect_refused(options.check(request), "min_tokens is 3");
  request.sampling.min_tokens = 0;
  request.ignore_stop_ids = true;
  expect_refused(options.check(request), "no stop id");
  request.ignore_stop_ids = false;
  request.sampling.stop_ids.clear();
  expect_refused(options.check(request), "no stop id");
}

TEST(EngineOptions, RefusesBadRequestsNamingFieldAndValue) {
  const auto refuses = [](auto change, const std::string& part) {
    SequenceRequest request = small_request(1);
    change(request);
    expect_refused(small_options().check(request), part);
  };
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

  ASSERT_TRUE(small_options().check(small_request(1)).ok());
  refuses([](auto& r) { r.prompt.clear(); }, "prompt's number of tokens is 0, expected 1 to 199");
  refuses([](auto& r) { r.prompt.resize(200, 1); }, "tokens is 200");
  refuses([](auto& r) { r.prompt[1] = 1000; }, "prompt[1] is 1000, expected 0 to 999");
  refuses([](auto& r) { r.max_tokens = 0; }, "max_tokens is 0");
  refuses([](auto& r) { r.num_prompt_logprobs = -3; }, "num_prompt_logprobs is -3");
  refuses([](auto& r) { r.sampling.temperature = -1; }, "temperature is -1");
  refuses([](auto& r) { r.sampling.temperature = kNan; }, "temperature is nan");
  refuses([](auto& r) { r.sampling.top_p = 0; }, "top_p is 0.000000, expected above 0");
  refuses([](auto& r) { r.sampling.top_k = -1; }, "top_k is -1");
  refuses([](auto& r) { r.sampling.min_p = 1.5f; }, "min_p is 1.5");
  refuses([](auto& r) { r.sampling.repetition_penalty = 0; }, "repetition_penalty is 0");
  refuses([](auto& r) { r.sampling.presence_penalty = kNan; }, "presence_penalty is nan");
  refuses([](auto& r) { r.sampling.min_tokens = -1; }, "min_tokens is -1");
  refuses([](auto& r) { r.sampling.stop_ids = {3, -1}; }, "stop_ids[1] is -1");
  refuses([](auto& r) { r.sampling.logit_bias = {{1000, 1.0f}}; }, "logit_bias id is 1000");
  refuses([](auto& r) { r.sampling.logit_bias.emplace_back(7, float{kNan}); },
          "logit_bias of 7 is nan");
  refuses([](auto& r) { r.sampling.num_logprobs = 1001; }, "num_logprobs is 1001");
}

TEST(EngineOptions, RefusesASequenceThatNoEmptyPoolHolds) {
  Engine::Options options = small_options();
  options.full_pages = 2;
  SequenceRequest request = small_request(1);
  request.prompt.assign(10, 1);
  request.max_tokens = 23;

  EXPECT_TRUE(options.check(request).ok());  // the last of 33 tokens is never read
  request.max_tokens = 24;
  expect_refused(options.check(request), "33 tokens needs 3 full pages, the pool has 2");
  options.full_pages = 100;
  options.window_pages = 1;
  expect_refused(options.check(request), "3 window pages, the pool has 1");
}

}  // namespace
}  // namespace mimo::node
