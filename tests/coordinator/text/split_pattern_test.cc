#include "coordinator/text/split_pattern.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coordinator/text/utf8.h"

namespace mimo::text {
namespace {

constexpr char kQwen[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<std::string> pieces(std::string_view regex, std::string_view text) {
  const auto pattern = SplitPattern::create(regex).value();
  SplitScratch scratch;
  std::vector<uint32_t> ends;
  pattern->split(text, &scratch, &ends).value();
  std::vector<std::string> out;
  size_t begin = 0;
  for (const uint32_t end : ends) {
    out.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  EXPECT_EQ(begin, text.size());
  return out;
}

using Pieces = std::vector<std::string>;

TEST(SplitPattern, CutsAsTheFamilyDoes) {
  EXPECT_EQ(pieces(kQwen, ""), Pieces{});
  EXPECT_EQ(pieces(kQwen, "Hello world"), (Pieces{"Hello", " world"}));
  EXPECT_EQ(pieces(kQwen, "don't 42x"), (Pieces{"don", "'t", " ", "4", "2", "x"}));
  EXPECT_EQ(pieces(kQwen, "a  b"), (Pieces{"a", " ", " b"}));
  EXPECT_EQ(pieces(kQwen, "a \n\n b  "), (Pieces{"a", " \n\n", " b", "  "}));
  EXPECT_EQ(pieces(kQwen, "x!?\r\ny"), (Pieces{"x", "!?\r\n", "y"}));
}

TEST(SplitPattern, WhatLiesBetweenMatchesIsAPiece) {
  EXPECT_EQ(pieces("b+", "aabbcb"), (Pieces{"aa", "bb", "c", "b"}));
  EXPECT_EQ(pieces("b*", "a\u4e2dbb"), (Pieces{"a", "\u4e2d", "bb"}));  // empty matches cut too
  EXPECT_EQ(pieces("x", "abc"), (Pieces{"abc"}));
}

TEST(SplitPattern, WhiteSpaceIsUnicodesProperty) {
  const std::vector<char32_t> spaces = {0x09,   0x0a,   0x0b,   0x0c,   0x0d,   0x20,   0x85,
                                        0xa0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004,
                                        0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x2028,
                                        0x2029, 0x202f, 0x205f, 0x3000};
  size_t num_spaces = 0;
  const auto pattern = SplitPattern::create("\\s").value();
  SplitScratch scratch;
  std::vector<uint32_t> ends;
  for (char32_t c = 1; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    std::string text = "x";
    append_utf8(c, &text);
    pattern->split(text, &scratch, &ends).value();
    if (ends.size() == 1) continue;
    ASSERT_LT(num_spaces, spaces.size()) << "U+" << std::hex << uint32_t{c};
    EXPECT_EQ(c, spaces[num_spaces++]);
  }
  EXPECT_EQ(num_spaces, spaces.size());
  EXPECT_EQ(pieces("[^\\s]+", "a\u180eb\u0085c"), (Pieces{"a\u180eb", "\u0085", "c"}));
}

TEST(SplitPattern, KnowsLettersAndDigitsOfUnicode15) {
  EXPECT_EQ(pieces("\\p{N}", "a\U0001d2c0b"), (Pieces{"a", "\U0001d2c0", "b"}));
  EXPECT_EQ(pieces("[^\\p{L}]", "\U00031490!"), (Pieces{"\U00031490", "!"}));
  EXPECT_EQ(pieces("\\P{L}", "\U00031490!"), (Pieces{"\U00031490", "!"}));
}

struct Refusal {
  const char* regex;
  const char* why;
};

class SplitPatternRefuses : public ::testing::TestWithParam<Refusal> {};

TEST_P(SplitPatternRefuses, WhatTheEnginesReadDifferently) {
  const auto refused = SplitPattern::create(GetParam().regex);

  ASSERT_FALSE(refused.ok()) << GetParam().regex;
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().message.find(GetParam().why), std::string::npos)
      << refused.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    Patterns, SplitPatternRefuses,
    ::testing::Values(Refusal{"a.b", "an unescaped ."}, Refusal{"^a", "an unescaped ^"},
                      Refusal{"a$", "an unescaped $"}, Refusal{"\\ha", "the escape \\h"},
                      Refusal{"\\w+", "the escape \\w"}, Refusal{"\\K", "the escape \\K"},
                      Refusal{"a\\", "nothing after it"}, Refusal{"\\pL", "without {category}"},
                      Refusal{"\\p{Han}", "the property Han"}, Refusal{"\\p{L", "without {"},
                      Refusal{"[a[b]]", "a [ inside"}, Refusal{"[a&&b]", "a && inside"},
                      Refusal{"[]a]", "a ] first"}, Refusal{"[abc", "without its ]"},
                      Refusal{"[\\P{L}]", "a \\P inside"}, Refusal{"a{1,3}+", "a + after"},
                      Refusal{"a{,3}", "no {n}"}, Refusal{"a{", "no {n}"},
                      Refusal{"(?x)a", "opens with (?x)"}, Refusal{"(*UCP)a", "a (*"},
                      Refusal{"(?<n>a)", "opens with (?<n"}, Refusal{"(a", "not a regular"},
                      Refusal{"a)", "not a regular"}, Refusal{"*a", "not a regular"}));

TEST(SplitPattern, AnExplosionOfChoicesIsRefusedAndNotWaitedFor) {
  const auto pattern = SplitPattern::create("(?:a+)+[bd]").value();
  SplitScratch scratch;
  std::vector<uint32_t> ends;

  const auto refused = pattern->split(std::string(64, 'a') + "c", &scratch, &ends);

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
}

}  // namespace
}  // namespace mimo::text
