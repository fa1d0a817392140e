#include "grammar/regex.h"

#include <gtest/gtest.h>

#include <string>

#include "grammar/number_texts.h"

namespace mimo::grammar {
namespace {

std::string ebnf_of(const std::string& pattern, bool whole = true) {
  const auto regex = parse_regex(pattern, whole, {});
  return regex.ok() ? to_ebnf(regex.value()) : regex.error().message;
}

bool is_refused(const std::string& pattern) { return !parse_regex(pattern, true, {}).ok(); }

TEST(Regex, BecomesEbnf) {
  EXPECT_EQ(ebnf_of("abc"), "\"abc\"");
  EXPECT_EQ(ebnf_of("^a|b$"), "([a] | [b])");
  EXPECT_EQ(ebnf_of("[a-cx]{2,5}"), "[a-cx]{2,5}");
  EXPECT_EQ(ebnf_of("(ab)*c+?"), "(\"ab\")* [c]+");
  EXPECT_EQ(ebnf_of("a?"), "[a]?");
  EXPECT_EQ(ebnf_of("\\d{3}"), "[0-9]{3,3}");
  EXPECT_EQ(ebnf_of(""), "\"\"");
  EXPECT_EQ(ebnf_of("\\u00e9"), "[\\U000000E9]");
}

TEST(Regex, LooksForAPatternAnywhereUnlessItIsAnchored) {
  const std::string any = ebnf_of("[^]", true);
  EXPECT_EQ(ebnf_of("^a$", false), "[a]");
  EXPECT_EQ(ebnf_of("^a", false).rfind("\"a\"", 0) == 0 || ebnf_of("^a", false)[0] == '[', true);
  EXPECT_NE(ebnf_of("a", false), "[a]");
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
