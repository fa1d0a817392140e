#include "grammar/grammars.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/grammar/vocabulary.h"

namespace mimo::grammar {
namespace {

Spec regex(std::string text) { return {.kind = Spec::Kind::kRegex, .text = std::move(text)}; }
Spec schema(std::string text) { return {.kind = Spec::Kind::kJsonSchema, .text = std::move(text)}; }
Spec ebnf(std::string text) { return {.kind = Spec::Kind::kGrammar, .text = std::move(text)}; }
Spec choice(std::vector<std::string> texts) {
  return {.kind = Spec::Kind::kChoice, .choices = std::move(texts)};
}

TEST(Grammars, HoldToARegularExpression) {
  auto grammars = tiny_grammars();

  EXPECT_TRUE(accepts(grammars.get(), regex("[a-c]+\\d{2,3}"), "abc123"));
  EXPECT_FALSE(accepts(grammars.get(), regex("[a-c]+\\d{2,3}"), "abc1"));
  EXPECT_FALSE(accepts(grammars.get(), regex("[a-c]+\\d{2,3}"), "abd12"));
  EXPECT_TRUE(accepts(grammars.get(), regex("(yes|no)!?"), "no!"));
}

TEST(Grammars, HoldToAChoice) {
  auto grammars = tiny_grammars();
  const Spec spec = choice({"red", "green", "red wine", "\"quoted\\\"", "gr\xc3\xbcn"});

  for (const std::string& text : spec.choices) EXPECT_TRUE(accepts(grammars.get(), spec, text));
  EXPECT_FALSE(accepts(grammars.get(), spec, "red w"));
  EXPECT_FALSE(accepts(grammars.get(), spec, "blue"));
}

TEST(Grammars, HoldToAGrammar) {
  auto grammars = tiny_grammars();
  const Spec spec =
      ebnf("root ::= sum\nsum ::= term (\"+\" term)*\nterm ::= [0-9]+ | \"(\" sum \")\"");

  EXPECT_TRUE(accepts(grammars.get(), spec, "1+(2+34)+5"));
  EXPECT_FALSE(accepts(grammars.get(), spec, "1+(2"));
  EXPECT_FALSE(accepts(grammars.get(), spec, "1-2"));
}

TEST(Grammars, HoldToASchema) {
  auto grammars = tiny_grammars();
  const Spec spec = schema(R"({"type": "object", "properties": {"name": {"type": "string"},
    "age": {"type": "integer", "minimum": 0, "maximum": 120}}, "required": ["name"]})");

  EXPECT_TRUE(accepts(grammars.get(), spec, R"({"name": "Ann", "age": 7})"));
  EXPECT_TRUE(accepts(grammars.get(), spec, R"({"name":"\u00e9\n"})"));
  EXPECT_FALSE(accepts(grammars.get(), spec, R"({"age": 7})"));
  EXPECT_FALSE(accepts(grammars.get(), spec, R"({"name": "Ann", "age": 121})"));
  EXPECT_FALSE(accepts(grammars.get(), spec, R"({"name": "Ann", "other": 1})"));
}

TEST(Grammars, HoldToAnyObject) {
  auto grammars = tiny_grammars();
  const Spec spec = {.kind = Spec::Kind::kJsonObject};

  EXPECT_TRUE(accepts(grammars.get(), spec, R"({"a": [1, -2.5e3, true, null, {"b": "c"}]})"));
  EXPECT_FALSE(accepts(grammars.get(), spec, R"([1])"));
  EXPECT_FALSE(accepts(grammars.get(), spec, R"({"a": 01})"));
}

TEST(Grammars, TheTextIsFreeUntilTheWord) {
  auto grammars = tiny_grammars();
  Spec spec = choice({"yes", "no"});
  spec.free_until = "</think>";

  EXPECT_TRUE(accepts(grammars.get(), spec, "let me <think> about\nit </thin </think>yes"));
  EXPECT_TRUE(accepts(grammars.get(), spec, "</think>no"));
  EXPECT_FALSE(accepts(grammars.get(), spec, "yes"));
  EXPECT_FALSE(accepts(grammars.get(), spec, "a</think>b</think>yes"));
}

}  // namespace
}  // namespace mimo::grammar
