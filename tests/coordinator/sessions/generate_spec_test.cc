#include "coordinator/sessions/generate_spec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/coordinator/sessions/stream_record.h"

namespace mimo::coordinator {
namespace {

struct BadRequest {
  std::string name;
  std::function<void(v1::GenerateRequest*)> spoil;
  Code code;
  std::string message;
};

v1::GenerateRequest good_request() {
  v1::GenerateRequest request;
  request.mutable_token_ids()->add_ids(65);
  return request;
}

template <typename Set, typename Value>
std::function<void(v1::GenerateRequest*)> sampling(Set set, Value value) {
  return [=](v1::GenerateRequest* r) { (r->mutable_sampling()->*set)(value); };
}
template <typename Set, typename Value>
std::function<void(v1::GenerateRequest*)> stopping(Set set, Value value) {
  return [=](v1::GenerateRequest* r) { (r->mutable_stopping()->*set)(value); };
}
template <typename Set, typename Value>
std::function<void(v1::GenerateRequest*)> response(Set set, Value value) {
  return [=](v1::GenerateRequest* r) { (r->mutable_response()->*set)(value); };
}

constexpr Code kBad = Code::kInvalidArgument;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
using S = v1::Sampling;
using T = v1::Stopping;
using R = v1::ResponseOptions;

const std::vector<BadRequest>& bad_sampling() {
  static const std::vector<BadRequest> table = {
      {"temperature", sampling(&S::set_temperature, -0.5f), kBad,
       "sampling.temperature = -0.5: expected [0, 100]"},
      {"temperature_nan", sampling(&S::set_temperature, kNan), kBad,
       "sampling.temperature = nan: expected [0, 100]"},
      {"temperature_inf", sampling(&S::set_temperature, kInf), kBad,
       "sampling.temperature = inf: expected [0, 100]"},
      {"top_p_high", sampling(&S::set_top_p, 1.5f), kBad, "sampling.top_p = 1.5: expected (0, 1]"},
      {"top_p_zero", sampling(&S::set_top_p, 0.0f), kBad, "sampling.top_p = 0: expected (0, 1]"},
      {"top_p_nan", sampling(&S::set_top_p, kNan), kBad, "sampling.top_p = nan: expected (0, 1]"},
      {"top_k", sampling(&S::set_top_k, -1), kBad, "sampling.top_k = -1: expected [0, 2147483647]"},
      {"min_p", sampling(&S::set_min_p, 1.25f), kBad, "sampling.min_p = 1.25: expected [0, 1]"},
      {"frequency", sampling(&S::set_frequency_penalty, 2.5f), kBad,
       "sampling.frequency_penalty = 2.5: expected [-2, 2]"},
      {"presence", sampling(&S::set_presence_penalty, -2.5f), kBad,
       "sampling.presence_penalty = -2.5: expected [-2, 2]"},
      {"repetition", sampling(&S::set_repetition_penalty, 0.0f), kBad,
       "sampling.repetition_penalty = 0: expected (0, 10]"},
      {"repetition_inf", sampling(&S::set_repetition_penalty, kInf), kBad,
       "sampling.repetition_penalty = inf: expected (0, 10]"},
      {"num_sequences", sampling(&S::set_num_sequences, 65), kBad,
       "sampling.num_sequences = 65: expected [1, 64]"},
      {"no_sequences", sampling(&S::set_num_sequences, 0), kBad,
       "sampling.num_sequences = 0: expected [1, 64]"},
      {"bias_id", [](auto* r) { (*r->mutable_sampling()->mutable_logit_bias())[301] = 1; }, kBad,
       "sampling.logit_bias's id = 301: expected [0, 301)"},
      {"bias", [](auto* r) { (*r->mutable_sampling()->mutable_logit_bias())[7] = 101; }, kBad,
       "sampling.logit_bias[7] = 101: expected [-100, 100]"},
      {"bias_nan", [](auto* r) { (*r->mutable_sampling()->mutable_logit_bias())[7] = kNan; }, kBad,
       "sampling.logit_bias[7] = nan: expected [-100, 100]"},
  };
  return table;
}

const std::vector<BadRequest>& bad_others() {
  static const std::vector<BadRequest> table = {
      {"no_input", [](auto* r) { r->clear_input(); }, kBad,
       "input is not set: expected text or token_ids"},
      {"empty_ids", [](auto* r) { r->mutable_token_ids()->clear_ids(); }, kBad,
       "token_ids is empty: expected a prompt"},
      {"empty_text", [](auto* r) { r->set_text(""); }, kBad, "text is empty: expected a prompt"},
      {"long_text", [](auto* r) { r->set_text(std::string(101, 'a')); }, kBad,
       "text = 101 bytes: expected at most 100"},
      {"id", [](auto* r) { r->mutable_token_ids()->add_ids(301); }, kBad,
       "token_ids.ids[1] = 301: expected [0, 301)"},
      {"negative_id", [](auto* r) { r->mutable_token_ids()->add_ids(-1); }, kBad,
       "token_ids.ids[1] = -1: expected [0, 301)"},
      {"model", [](auto* r) { r->set_model("other"); }, Code::kNotFound,
       "model = \"other\": expected \"small\" or none"},
      {"long_name", [](auto* r) { r->set_request_id(std::string(129, 'x')); }, kBad,
       "request_id's bytes = 129: expected [0, 128]"},
      {"max_tokens", stopping(&T::set_max_tokens, 0), kBad,
       "stopping.max_tokens = 0: expected [1, 4096]"},
      {"max_tokens_high", stopping(&T::set_max_tokens, 4097), kBad,
       "stopping.max_tokens = 4097: expected [1, 4096]"},
      {"min_tokens", stopping(&T::set_min_tokens, -1), kBad,
       "stopping.min_tokens = -1: expected [0, 4096]"},
      {"min_over_max",
       [](auto* r) {
         r->mutable_stopping()->set_max_tokens(3);
         r->mutable_stopping()->set_min_tokens(4);
       },
       kBad, "stopping.min_tokens = 4: expected [0, 3]"},
      {"stop_empty", [](auto* r) { r->mutable_stopping()->add_stop_text(""); }, kBad,
       "stopping.stop_text[0] = 0 bytes: expected [1, 256]"},
      {"stop_long", [](auto* r) { r->mutable_stopping()->add_stop_text(std::string(257, 's')); },
       kBad, "stopping.stop_text[0] = 257 bytes: expected [1, 256]"},
      {"stops_many",
       [](auto* r) {
         for (int i = 0; i < 17; ++i) r->mutable_stopping()->add_stop_text("s");
       },
       kBad, "stopping.stop_text = 17 texts: expected at most 16"},
      {"stop_id", [](auto* r) { r->mutable_stopping()->add_stop_token_ids(400); }, kBad,
       "stopping.stop_token_ids[0] = 400: expected [0, 301)"},
      {"candidates", response(&R::set_output_candidates, 21), kBad,
       "response.output_candidates = 21: expected [0, 20]"},
      {"prompt_candidates", response(&R::set_prompt_candidates, -1), kBad,
       "response.prompt_candidates = -1: expected [0, 20]"},
      {"all", response(&R::set_all_candidates, true), Code::kUnimplemented,
       "response.all_candidates: needs a server that runs with debug.logits = true"},
      {"raw", response(&R::set_raw_logits, true), Code::kUnimplemented,
       "response.raw_logits: needs a server that runs with debug.logits = true"},
  };
  return table;
}

class RefusedRequest : public ::testing::TestWithParam<BadRequest> {};

TEST_P(RefusedRequest, NamesFieldValueAndBound) {
  RequestLimits limits = small_limits();
  limits.prompt_bytes_max = 100;
  v1::GenerateRequest request = good_request();
  ASSERT_TRUE(parse_request(request, limits, 1).ok());
  GetParam().spoil(&request);

  const auto refused = parse_request(request, limits, 1);

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, GetParam().code);
  EXPECT_EQ(refused.error().message, GetParam().message);
}

const auto name_of = [](const auto& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Sampling, RefusedRequest, ::testing::ValuesIn(bad_sampling()), name_of);
INSTANTIATE_TEST_SUITE_P(Others, RefusedRequest, ::testing::ValuesIn(bad_others()), name_of);

TEST(GenerateSpec, TheBoundsThemselvesAreAllowed) {
  v1::GenerateRequest request = good_request();
  S* sampling = request.mutable_sampling();
  sampling->set_temperature(0);
  sampling->set_top_p(1);
  sampling->set_min_p(1);
  sampling->set_frequency_penalty(-2);
  sampling->set_presence_penalty(2);
  sampling->set_repetition_penalty(10);
  sampling->set_num_sequences(64);
  (*sampling->mutable_logit_bias())[300] = -100;
  request.mutable_stopping()->set_max_tokens(4095);

  auto spec = parse_request(request, small_limits(), 1);

  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_TRUE(check_prompt(small_limits(), &spec.value()).ok());
}

TEST(GenerateSpec, UnsetIsTheServersDefaultAndZeroIsZero) {
  RequestLimits limits = small_limits();
  limits.temperature = 0.7f;
  limits.top_p = 0.95f;
  v1::GenerateRequest request = good_request();
  EXPECT_EQ(parse_request(request, limits, 1).value().submit.temperature(), 0.7f);
  EXPECT_EQ(parse_request(request, limits, 1).value().submit.top_p(), 0.95f);

  request.mutable_sampling()->set_temperature(0);

  EXPECT_EQ(parse_request(request, limits, 1).value().submit.temperature(), 0.0f);
}

TEST(GenerateSpec, WithoutATokenizerTextIsUnsupported) {
  RequestLimits limits = small_limits();
  limits.has_tokenizer = false;
  v1::GenerateRequest text;
  text.set_text("hi");
  v1::GenerateRequest stop = good_request();
  stop.mutable_stopping()->add_stop_text("x");

  EXPECT_EQ(parse_request(text, limits, 1).error().code, Code::kUnimplemented);
  EXPECT_EQ(parse_request(stop, limits, 1).error().code, Code::kUnimplemented);
}

TEST(GenerateSpec, PromptAndOutputShareThePositions) {
  RequestLimits limits = small_limits();
  limits.positions_max = 10;
  const auto check = [&](int32_t num_prompt, int32_t max_tokens) {
    GenerateSpec spec;
    spec.prompt.assign(static_cast<size_t>(num_prompt), 1);
    spec.max_tokens = max_tokens;
    auto result = check_prompt(limits, &spec);
    return result.ok() ? std::to_string(spec.max_tokens) : result.error().message;
  };

  EXPECT_EQ(check(4, 6), "6");
  EXPECT_EQ(check(4, 0), "6");
  EXPECT_EQ(check(9, 1), "1");
  EXPECT_EQ(check(4, 7),
            "stopping.max_tokens = 7: expected at most 6: the prompt's 4 tokens and the output "
            "share 10 positions");
  EXPECT_EQ(check(10, 1), "the prompt = 10 tokens: expected at most 9: the model has 10 positions");
  EXPECT_EQ(check(0, 1), "the prompt has no tokens: expected at least 1");
}

TEST(GenerateSpec, PromptScoresMustFitOneMessage) {
  RequestLimits limits = small_limits();
  limits.message_bytes_max = 10'000;
  GenerateSpec spec;
  spec.prompt.assign(100, 1);
  spec.wants_prompt_scores = true;
  spec.num_prompt_logprobs = 0;
  EXPECT_TRUE(check_prompt(limits, &spec).ok());
  spec.num_prompt_logprobs = 20;

  EXPECT_EQ(check_prompt(limits, &spec).error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace mimo::coordinator
