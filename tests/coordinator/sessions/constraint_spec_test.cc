#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "coordinator/sessions/generate_spec.h"
#include "tests/coordinator/sessions/stream_record.h"

namespace mimo::coordinator {
namespace {

using Spoil = std::function<void(v1::GenerateRequest&, RequestLimits&)>;

RequestLimits limits_of_test() {
  RequestLimits limits = small_limits();
  limits.constraint_bytes_max = 10;
  limits.constraint_choices_max = 3;
  limits.free_until_bytes_max = 8;
  return limits;
}

v1::GenerateRequest good_request() {
  v1::GenerateRequest request;
  request.mutable_token_ids()->add_ids(65);
  request.mutable_constraint()->set_regex("a{1,3}");
  request.mutable_constraint()->set_free_until("</think>");
  return request;
}

std::string refusal(const Spoil& spoil, Code code) {
  RequestLimits limits = limits_of_test();
  v1::GenerateRequest request = good_request();
  spoil(request, limits);
  const auto parsed = parse_request(request, limits, 1);
  if (parsed.ok()) return "it was taken";
  EXPECT_EQ(parsed.error().code, code) << parsed.error().message;
  return parsed.error().message;
}
std::string bad(const Spoil& spoil) { return refusal(spoil, Code::kInvalidArgument); }
std::string unsupported(const Spoil& spoil) { return refusal(spoil, Code::kUnimplemented); }

TEST(ConstraintSpec, GoesToTheLeaderAsItCame) {
  const auto parsed = parse_request(good_request(), limits_of_test(), 1);

  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed.value().submit.constraint().SerializeAsString(),
            good_request().constraint().SerializeAsString());
  v1::GenerateRequest none = good_request();
  none.clear_constraint();
  EXPECT_FALSE(parse_request(none, limits_of_test(), 1).value().submit.has_constraint());
  none.mutable_constraint();  // of no kind
  EXPECT_FALSE(parse_request(none, limits_of_test(), 1).value().submit.has_constraint());
}

TEST(ConstraintSpec, TextsHaveBounds) {
  EXPECT_EQ(bad([](auto& r, auto&) { r.mutable_constraint()->set_regex("01234567890"); }),
            "constraint.regex = 11 bytes: expected [1, 10]");
  EXPECT_EQ(bad([](auto& r, auto&) { r.mutable_constraint()->set_regex(""); }),
            "constraint.regex = 0 bytes: expected [1, 10]");
  EXPECT_EQ(bad([](auto& r, auto&) { r.mutable_constraint()->set_json_schema(""); }),
            "constraint.json_schema = 0 bytes: expected [1, 10]");
  EXPECT_EQ(bad([](auto& r, auto&) { r.mutable_constraint()->set_grammar("01234567890"); }),
            "constraint.grammar = 11 bytes: expected [1, 10]");
  EXPECT_EQ(bad([](auto& r, auto&) { r.mutable_constraint()->set_structural_tag("01234567890"); }),
            "constraint.structural_tag = 11 bytes: expected [1, 10]");
  EXPECT_EQ(bad([](auto& r, auto&) { r.mutable_constraint()->set_free_until("</think> "); }),
            "constraint.free_until = 9 bytes: expected [0, 8]");
  EXPECT_EQ(bad([](auto& r, auto&) { r.mutable_constraint()->set_json_object(false); }),
            "constraint.json_object = false: expected true, or no constraint");
  EXPECT_EQ(bad([](auto& r, auto&) { r.mutable_constraint()->clear_regex(); }),
            "constraint.free_until is set: expected a constraint beside it");
}

TEST(ConstraintSpec, ChoicesHaveBounds) {
  const auto with = [](const std::vector<std::string>& texts) {
    return [texts](v1::GenerateRequest& r, RequestLimits&) {
      r.mutable_constraint()->mutable_choice()->mutable_texts()->Assign(texts.begin(), texts.end());
    };
  };

  EXPECT_EQ(bad(with({})), "constraint.choice.texts = 0 texts: expected [1, 3]");
  EXPECT_EQ(bad(with({"a", "b", "c", "d"})), "constraint.choice.texts = 4 texts: expected [1, 3]");
  EXPECT_EQ(bad(with({"012345", "67890"})), "constraint.choice.texts = 11 bytes: expected [1, 10]");
  EXPECT_EQ(bad(with({"012345", "6789"})), "it was taken");
}

TEST(ConstraintSpec, AloneSaysWhereTheEndMayCome) {
  EXPECT_EQ(bad([](auto& r, auto&) { r.mutable_stopping()->set_ignore_eos(true); }),
            "stopping.ignore_eos = true: expected false beside a constraint, which says where the "
            "end may come");
  EXPECT_EQ(bad([](auto& r, auto&) { r.mutable_stopping()->set_min_tokens(2); }),
            "stopping.min_tokens = 2: expected 0 beside a constraint, which says where the end may "
            "come");
  EXPECT_EQ(bad([](auto& r, auto&) {
              r.mutable_stopping()->add_stop_text("END");
              r.mutable_stopping()->add_stop_token_ids(7);
              r.mutable_stopping()->set_max_tokens(3);
            }),
            "it was taken");
}

TEST(ConstraintSpec, NeedsATokenizerAndAnEnd) {
  EXPECT_EQ(unsupported([](auto&, auto& limits) { limits.has_tokenizer = false; }),
            "constraint: this server has no tokenizer, which it is made of");
  EXPECT_EQ(unsupported([](auto&, auto& limits) { limits.eos_ids.clear(); }),
            "constraint: the model has no end, which a constraint comes to");
}

}  // namespace
}  // namespace mimo::coordinator
