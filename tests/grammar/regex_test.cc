#include "grammar/regex.h"

#include <gtest/gtest.h>

#include <string>

#include "grammar/ebnf.h"

namespace mimo::grammar {
namespace {

std::string ebnf_of(const std::string& pattern, bool whole = true) {
  const auto regex = parse_regex(pattern, whole, {});
  EbnfRules rules("x");
  return regex.ok() ? to_ebnf(regex.value(), &rules) : regex.error().message;
}

bool is_refused(const std::string& pattern) { return !parse_regex(pattern, true, {}).ok(); }

TEST(Regex, BecomesOneAutomatonWhereThatIsCheap) {
  EXPECT_EQ(ebnf_of("abc"), "\"abc\"");
  EXPECT_EQ(ebnf_of("[a-cx]"), "[a-cx]");
  EXPECT_EQ(ebnf_of(""), "\"\"");
  EXPECT_EQ(ebnf_of("^a|b$"), "Regex(\"(?:a|b)\")");
  EXPECT_EQ(ebnf_of("\\d{2,5}"), "Regex(\"(?:[0-9]){2,5}\")");
  EXPECT_EQ(ebnf_of("(a.)*"),
            "Regex(\"(?:a[\\\\u{000001}-\\\\u{000009}\\\\u{00000B}-\\\\u{00000C}"
            "\\\\u{00000E}-\\\\u{002027}\\\\u{00202A}-\\\\u{00D7FF}"
            "\\\\u{00E000}-\\\\u{10FFFF}])*\")");
}

TEST(Regex, BecomesRulesWhereOneAutomatonWouldBeDear) {
  EXPECT_EQ(ebnf_of("[a-z]{200}x").rfind("Regex", 0), std::string::npos);
  EXPECT_EQ(ebnf_of("(a.){0,90}").rfind("Regex", 0), std::string::npos);
}

TEST(Regex, LooksForAPatternAnywhereUnlessItIsAnchored) {
  EXPECT_EQ(ebnf_of("^a$", false), "[a]");
  EXPECT_EQ(ebnf_of("^a", false).rfind("Regex(\"a(?:[", 0), 0u);
  EXPECT_EQ(ebnf_of("a$", false).rfind("Regex(\"(?:[", 0), 0u);
}

TEST(Regex, RefusesWhatItWouldNotHoldTo) {
  for (const char* pattern :
       {"(?=a)", "(?!a)", "(?<=a)b", "\\bword\\b", "(a)\\1", "(?i)a", "\\p{L}", "a^b",
        "(^a)",  "a$b",   "a{3",     "a{1001}",    "*a",     "a**",   "(a",     "a)",
        "[a",    "[z-a]", "[]",      "[\\w-z]",    "[[a]]",  "\\",    "\\q",    "a{2,1}"})
    EXPECT_TRUE(is_refused(pattern)) << pattern;
  EXPECT_TRUE(is_refused(std::string("a\0b", 3)));
  EXPECT_TRUE(is_refused("\xff"));
  EXPECT_TRUE(is_refused("(a{1,1000}){1,1000}"));
  EXPECT_TRUE(is_refused(std::string(100, '(') + "a" + std::string(100, ')')));
}

TEST(Regex, NamesThePlace) {
  const auto refused = parse_regex("abc(?=d)", true, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("at character 5"), std::string::npos)
      << refused.error().message;
}

TEST(Regex, LengthsAreThoseOfTheText) {
  const auto length = [](const std::string& pattern) {
    return length_of(parse_regex(pattern, true, {}).value());
  };
  EXPECT_EQ(length("a{2,5}|bbb").min, 2);
  EXPECT_EQ(length("a{2,5}|bbb").max, 5);
  EXPECT_EQ(length("a*").max, Regex::kUnbounded);
  EXPECT_EQ(length("(ab){3}c?").max, 7);
}

TEST(Regex, NoSetHoldsASurrogateOrNul) {
  for (const CharRange& range : complement_set({})) {
    EXPECT_GT(range.first, 0u);
    EXPECT_TRUE(range.last < 0xd800 || range.first > 0xdfff);
  }
}

}  // namespace
}  // namespace mimo::grammar
