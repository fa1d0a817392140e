#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "grammar/engine.h"
#include "tests/grammar/vocabulary.h"

namespace mimo::grammar {
namespace {

struct Case {
  const char* name;
  Spec spec;
};

// The mask and accept() are computed in different ways: from tables made ahead, and byte by byte.
class MaskAndAccept : public testing::TestWithParam<Case> {};

std::shared_ptr<const Compiled> compile(const Engine& engine, const Spec& spec) {
  const Work work = {2'000'000, std::chrono::milliseconds(30'000)};
  return engine.compile(engine_text(spec, {}).value(), work).value();
}

std::unique_ptr<Matcher> replay(const std::shared_ptr<const Compiled>& grammar,
                                const std::vector<int32_t>& tokens) {
  auto matcher = Matcher::create(grammar).value();
  for (const int32_t token : tokens) matcher->accept(token).value();
  return matcher;
}

TEST_P(MaskAndAccept, Agree) {
  const auto& vocabulary = tiny_vocabulary();
  const int32_t limit = vocabulary.vocab_limit;
  const auto engine = Engine::create(vocabulary.token_bytes, limit, vocabulary.end_ids).value();
  const auto grammar = compile(*engine, GetParam().spec);
  std::vector<uint32_t> mask(static_cast<size_t>(mask_words(limit)));
  std::mt19937 random(20'24);

  for (int32_t walk = 0; walk < 4; ++walk) {
    std::vector<int32_t> tokens;
    std::string text;
    auto matcher = replay(grammar, tokens);
    for (int32_t step = 0; step < 24; ++step) {
      ASSERT_TRUE(matcher->fill(mask).ok()) << text;
      std::vector<int32_t> allowed;
      // Few of the allowed are tried, since each changes the state; all others are.
      for (int32_t token = 0; token < limit; ++token) {
        if (is_set(mask, token)) {
          allowed.push_back(token);
          continue;
        }
        ASSERT_FALSE(matcher->accept(token).ok())
            << "token " << token << " is taken and was not allowed after: " << text;
      }
      ASSERT_FALSE(allowed.empty()) << text;
      for (int32_t i = 0; i < 40; ++i) {
        const int32_t token = allowed[random() % allowed.size()];
        auto other = replay(grammar, tokens);
        ASSERT_TRUE(other->accept(token).ok())
            << "token " << token << " was allowed and is not taken after: " << text;
      }
      const int32_t token = allowed[random() % allowed.size()];
      if (std::find(vocabulary.end_ids.begin(), vocabulary.end_ids.end(), token) !=
          vocabulary.end_ids.end())
        break;
      matcher->accept(token).value();
      tokens.push_back(token);
      text += vocabulary.token_bytes[static_cast<size_t>(token)];
    }
  }
}

// Each allowed token is tried, before each of the first characters.
TEST(MaskAndAcceptOfAll, AgreeWhereAStringIsNotLongEnoughYet) {
  const auto& vocabulary = tiny_vocabulary();
  auto grammars = tiny_grammars();
  for (const int32_t least : {1, 2, 3, 150}) {
    const Spec spec = {
        .kind = Spec::Kind::kJsonSchema,
        .text = "{\"type\": \"string\", \"minLength\": " + std::to_string(least) + "}"};
    for (const std::string so_far : {"\"", "\"a", "\"ab", "\"abc"}) {
      Drawing drawing(grammars.get(), spec, vocabulary);
      ASSERT_TRUE(drawing.take(so_far));
      const std::span<const uint32_t> allowed = drawing.fill();
      for (int32_t token = 0; token < vocabulary.vocab_limit; ++token) {
        if (!is_set(allowed, token)) continue;
        Drawing other(grammars.get(), spec, vocabulary);
        ASSERT_TRUE(other.take(so_far));
        EXPECT_TRUE(other.rules().accept(token).ok())
            << "at least " << least << ": token " << token << " was allowed after " << so_far;
      }
    }
  }
}

Spec schema(std::string text) { return {.kind = Spec::Kind::kJsonSchema, .text = std::move(text)}; }
Spec regex(std::string text) { return {.kind = Spec::Kind::kRegex, .text = std::move(text)}; }

INSTANTIATE_TEST_SUITE_P(
    Specs, MaskAndAccept,
    testing::Values(
        Case{"string", schema(R"({"type": "string"})")},
        Case{"short_string", schema(R"({"type": "string", "minLength": 2, "maxLength": 5})")},
        Case{"long_string", schema(R"({"type": "string", "minLength": 3, "maxLength": 700})")},
        Case{"string_of_20", schema(R"({"type": "string", "minLength": 2, "maxLength": 20})")},
        Case{"string_of_13",
             schema(R"({"type": "array", "items": {"type": "string", "maxLength": 13}})")},
        Case{"array",
             schema(R"({"type": "array", "items": {"type": "integer"}, "maxItems": 500})")},
        Case{"strings",
             schema(R"({"type": "array", "items": {"type": "string", "maxLength": 9}})")},
        Case{"object", {.kind = Spec::Kind::kJsonObject}},
        Case{"pattern", schema(R"({"type": "string", "pattern": "a.{1,300}b"})")},
        Case{"regex", regex("(\\w{1,200} )*\\.")}, Case{"long_regex", regex("[a-z]{100,300}x")},
        Case{"repeated_group", regex("(ab|cd?){0,300}")},
        Case{"free",
             {.kind = Spec::Kind::kChoice, .choices = {"yes", "no"}, .free_until = "</think>"}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace mimo::grammar
