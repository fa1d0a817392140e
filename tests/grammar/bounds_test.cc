// Specs that are made to be dear, and what is refused with where and why.
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "tests/grammar/vocabulary.h"

namespace mimo::grammar {
namespace {

using std::to_string;

Spec schema(std::string text) { return {.kind = Spec::Kind::kJsonSchema, .text = std::move(text)}; }
Spec ebnf(std::string text) { return {.kind = Spec::Kind::kGrammar, .text = std::move(text)}; }
Spec regex(std::string text) { return {.kind = Spec::Kind::kRegex, .text = std::move(text)}; }

std::string repeated(const std::string& text, int32_t times) {
  std::string all;
  for (int32_t i = 0; i < times; ++i) all += text;
  return all;
}

Error refusal(const Spec& spec) {
  auto grammars = tiny_grammars();
  const auto checked = grammars->check(spec);
  return checked.ok() ? Error{Code::kOk, "taken: " + spec.text.substr(0, 80)} : checked.error();
}

struct Refused {
  const char* schema;
  const char* pointer;  // in the message
};

TEST(SchemaRefusal, NamesThePointer) {
  for (const Refused& one : std::vector<Refused>{
           {R"({"type": "array", "uniqueItems": true})", "\"/uniqueItems\""},
           {R"({"properties": {"a": {"not": {"type": "null"}}}})", "\"/properties/a/not\""},
           {R"({"type": "object", "if": {}, "then": {}})", "\"/if\""},
           {R"({"items": {"contains": {}}})", "\"/items/contains\""},
           {R"({"properties": {"a/b": {"dependentSchemas": {}}}})",
            "\"/properties/a~1b/dependentSchemas\""},
           {R"({"type": "number", "multipleOf": 0.1})", "\"/multipleOf\""},
           {R"({"type": "integer", "multipleOf": 3})", "\"/multipleOf\""},
           {R"x({"type": "string", "pattern": "(?=a)"})x", "\"/pattern\""},
           {R"({"type": "string", "pattern": "^a+$", "maxLength": 3})", "\"/pattern\""},
           {R"({"type": "string", "format": "ipv6"})", "\"/format\""},
           {R"({"oneOf": [{"type": "number"}, {"type": "integer"}]})", "\"/oneOf\""},
           {R"({"oneOf": [{"type": "object"}, {"type": "object"}]})", "\"/oneOf\""},
           {R"({"allOf": [{"type": "string"}, {"minLength": 1}]})", "\"/allOf\""},
           {R"({"anyOf": [{"type": "string"}], "minLength": 1})", "\"/minLength\""},
           {R"({"$ref": "#/$defs/a", "$defs": {}})", "\"/$ref\""},
           {R"({"$ref": "other.json"})", "\"/$ref\""},
           {R"({"$ref": "#"})", "\"/$ref\""},
           {R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})", "$ref"},
           {R"({"type": "object", "additionalProperties": true, "minProperties": 2})",
            "\"/minProperties\""},
           {R"({"patternProperties": {"^a": {}, "^b": {}}})", "\"/patternProperties\""},
           {R"({"type": "text"})", "\"/type\""},
           {R"({"enum": []})", "\"/enum\""},
           {R"({"type": "integer", "minimum": 3, "maximum": 2})", "no value"},
           {R"({"type": "number", "minimum": 0.12345678901234567})", "\"/minimum\""},
           {R"({"type": "string", "minLength": -1})", "\"/minLength\""},
           {R"({"a": 1, "a": 2})", "twice"},
           {R"(false)", "no value"},
           {R"([])", "\"\""},
           {R"({)", "not JSON"}}) {
    const Error error = refusal(schema(one.schema));
    EXPECT_EQ(error.code, Code::kInvalidArgument) << one.schema << ": " << error.message;
    EXPECT_NE(error.message.find(one.pointer), std::string::npos)
        << one.schema << ": " << error.message;
  }
}

TEST(SpecRefusal, NamesThePlace) {
  const auto expect = [](const Spec& spec, const char* what) {
    const Error error = refusal(spec);
    EXPECT_EQ(error.code, Code::kInvalidArgument) << error.message;
    EXPECT_NE(error.message.find(what), std::string::npos) << error.message;
  };
  expect(regex("a(?=b)"), "regex: at character 3");
  expect(ebnf("root ::= \"a\nb\""), "line 1");
  expect(ebnf("root ::= x"), "\"x\" is not defined");
  expect(ebnf("a ::= \"b\""), "root");
  expect(ebnf("root ::= Token(3)"), "Token");
  expect(ebnf("root[temperature=0.5] ::= \"a\""), "options");
  expect(ebnf("root ::= \"a\"{1,100000}"), "repetition");
  expect({.kind = Spec::Kind::kChoice}, "choice has 0");
  expect({.kind = Spec::Kind::kNone}, "no kind");
  expect({.kind = Spec::Kind::kRegex, .text = "a", .free_until = "aba"}, "free_until");
  expect({.kind = Spec::Kind::kStructuralTag, .text = "{\"format\": {\"type\": \"token\"}}"},
         "\"/format/type\"");
  expect({.kind = Spec::Kind::kStructuralTag,
          .text = R"({"format": {"type": "sequence", "elements": [{"type": "json_schema",
                     "json_schema": {"not": {}}}]}})"},
         "\"/format/elements/0/json_schema\": schema at \"/not\"");
}

// Each is answered, one way or the other, in bounded time; afterwards the source still works.
TEST(DearSpec, IsAnsweredAndHurtsNobody) {
  Grammars::Options options;
  options.compile_time_max = std::chrono::milliseconds(500);
  options.wait_time_max = std::chrono::milliseconds(30'000);
  auto grammars = tiny_grammars(options);
  std::string references = R"({"$ref": "#/$defs/a199", "$defs": {"a0": {"type": "integer"})";
  std::string choices = "{\"enum\": [0";
  std::string rules = "root ::= r0\n";
  for (int32_t i = 1; i < 200; ++i) {
    const std::string to = "{\"$ref\": \"#/$defs/a" + to_string(i - 1) + "\"}";
    references += ",\"a" + to_string(i) + "\": {\"prefixItems\": [" + to + "," + to + "]}";
  }
  for (int32_t i = 1; i < 4900; ++i) choices += ",\"value " + to_string(i * 7919 % 10007) + "\"";
  for (int32_t i = 0; i < 5000; ++i)
    rules += "r" + to_string(i) + " ::= r" + to_string(i + 1) + " | \"x\"\n";

  for (const Spec& spec :
       {schema(references + "}}"),
        schema(choices + "]}"),
        ebnf(rules + "r5000 ::= \"y\"\n"),
        schema(repeated("{\"items\":", 60) + "{}" + repeated("}", 60)),
        schema(repeated("{\"items\":", 100'000)),
        schema(repeated("[", 100'000)),
        regex(repeated("(", 60) + "a" + repeated(")*", 60)),
        regex("(a|b)*a(a|b){20}"),
        regex("(a{1,1000}){1,1000}"),
        regex("(.{1,90}x){1,100}"),
        regex("((a*)*)*b"),
        ebnf("root ::= ((([a-z]{1,100}){1,100}){1,100}){1,100}"),
        ebnf("root ::= " + repeated("(", 20'000) + "\"a\"" + repeated(")", 20'000)),
        ebnf("root ::= e\ne ::= e e e | e e | [a-z] | \"\""),
        ebnf("root ::= root | root root"),
        ebnf("root ::= \"a\" root"),
        ebnf("root ::= " + repeated("\"a\" ", 40'000)),
        ebnf(repeated("x", 300'000)),
        ebnf("root ::= [\\U00110000-\\UFFFFFFFF]"),
        ebnf("root ::= \"\\UFFFFFFFF\""),
        ebnf("root ::= [^\\x00-\\U0010FFFF]")}) {
    const auto start = std::chrono::steady_clock::now();
    const auto checked = grammars->check(spec);
    if (checked.ok()) {
      auto rules_of_it = grammars->start(spec);
      std::vector<uint32_t> mask(static_cast<size_t>(mask_words(2048)));
      static_cast<void>(rules_of_it->fill(mask).ok());
    } else {
      EXPECT_TRUE(checked.error().code == Code::kInvalidArgument ||
                  checked.error().code == Code::kResourceExhausted)
          << checked.error().to_string();
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(25))
        << spec.text.substr(0, 100);
  }
  EXPECT_TRUE(accepts(grammars.get(), regex("still (fine|good)"), "still good"));
}

// What is started was let in elsewhere, on every rank alike; what is checked may come back later.
TEST(Queue, AFullOneRefusesChecksAndTakesWhatIsStarted) {
  Grammars::Options options;
  options.queue_max = 1;
  auto grammars = tiny_grammars(options);
  std::vector<std::unique_ptr<TokenRules>> all;
  for (int32_t i = 0; i < 50; ++i)
    all.push_back(grammars->start(regex("[a-z]{1,90}" + to_string(i))));

  const auto checked = grammars->check(regex("one more"));

  ASSERT_FALSE(checked.ok());
  EXPECT_EQ(checked.error().code, Code::kResourceExhausted);
  std::vector<uint32_t> mask(static_cast<size_t>(mask_words(2048)));
  for (const auto& rules : all) EXPECT_TRUE(rules->fill(mask).ok());
  EXPECT_TRUE(grammars->check(regex("one more")).ok());
}

// Parts of a schema that its type leaves unread, and chains and products that take long to look at.
TEST(Schemas, WhatNobodyReadsHarmsNobody) {
  auto grammars = tiny_grammars();
  const auto checked = [&](const std::string& text) {
    return grammars->check({.kind = Spec::Kind::kJsonSchema, .text = text});
  };

  (void)checked(
      R"({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string", "prefixItems": [{"$ref": 5}]}}})");
  (void)checked(R"({"$ref": "#/$defs/a",
                    "$defs": {"a": {"type": "string", "properties": {}, "required": [5]}}})");
  std::string chain = R"({"$ref": "#/$defs/0", "$defs": {)";
  for (int32_t i = 0; i < 3000; ++i)
    chain += "\"" + to_string(i) + "\": {\"$ref\": \"#/$defs/" + to_string(i + 1) + "\"},";
  EXPECT_FALSE(checked(chain + R"("3000": {"type": "null"}}})").ok());
  std::string options = R"({"oneOf": [{"const": 0})";
  for (int32_t i = 1; i < 5000; ++i) options += ",{\"const\":" + to_string(i) + "}";
  EXPECT_FALSE(checked(options + "]}").ok());
  EXPECT_TRUE(checked(R"({"type": "number", "minimum": 1000000000})").ok());
  EXPECT_TRUE(accepts(
      grammars.get(),
      {.kind = Spec::Kind::kJsonSchema, .text = R"({"type": "integer", "minimum": -9007199254740991,
                                   "maximum": 9223372036854775807})"},
      "9007199254740993"));
  EXPECT_FALSE(checked(R"({"type": "integer", "minimum": 9223372036854775807})").ok());
  EXPECT_FALSE(checked(R"({"type": "integer", "minimum": -3, "maximum": 0,
                           "multipleOf": 9223372036854775807})")
                   .ok());
  EXPECT_FALSE(checked(R"({"type": "object", "properties": {"abc": {"type": "null"}},
                           "propertyNames": {"maxLength": 2}})")
                   .ok());
}

TEST(Cache, KeepsWhatWasUsedLast) {
  auto grammars = tiny_grammars();
  const Spec spec = regex("[a-z]+");
  grammars->check(spec).value();
  grammars->check(spec).value();

  EXPECT_EQ(grammars->stats().compiled, 1);
  EXPECT_EQ(grammars->stats().hits, 1);
  EXPECT_EQ(grammars->stats().cached, 1);
}

}  // namespace
}  // namespace mimo::grammar
