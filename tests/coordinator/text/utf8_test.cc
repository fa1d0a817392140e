#include "coordinator/text/utf8.h"

#include <gtest/gtest.h>

#include <string>

#include "coordinator/text/json_extent.h"
#include "tests/coordinator/text/random_text.h"

namespace mimo::text {
namespace {

constexpr char kBad[] = "\xef\xbf\xbd";

std::string lossy(std::string_view bytes) {
  LossyUtf8 decoder;
  std::string out;
  decoder.push(bytes, &out);
  decoder.finish(&out);
  return out;
}

std::string repeated(int32_t count) {
  std::string out;
  for (int32_t i = 0; i < count; ++i) out += kBad;
  return out;
}

TEST(Utf8, FindsTheFirstByteThatIsOutOfPlace) {
  constexpr size_t kNone = std::string_view::npos;

  EXPECT_EQ(find_invalid_utf8(""), kNone);
  EXPECT_EQ(find_invalid_utf8("plain ascii of some length"), kNone);
  EXPECT_EQ(find_invalid_utf8("\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x99\x82"), kNone);
  EXPECT_EQ(find_invalid_utf8(std::string_view("\0", 1)), kNone);
  EXPECT_EQ(find_invalid_utf8("abcdefghij\x80"), 10u);
  EXPECT_EQ(find_invalid_utf8("\xc3"), 0u);
  EXPECT_EQ(find_invalid_utf8("a\xe4\xb8"), 1u);
  EXPECT_EQ(find_invalid_utf8("\xc0\xaf"), 0u);          // overlong
  EXPECT_EQ(find_invalid_utf8("\xe0\x9f\xbf"), 0u);      // overlong
  EXPECT_EQ(find_invalid_utf8("\xed\xa0\x80"), 0u);      // a surrogate
  EXPECT_EQ(find_invalid_utf8("\xf4\x90\x80\x80"), 0u);  // past U+10FFFF
  EXPECT_EQ(find_invalid_utf8("\xf5\x80\x80\x80"), 0u);
}

TEST(Utf8, EveryCodePointSurvivesWritingAndReading) {
  for (char32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    std::string bytes;
    append_utf8(c, &bytes);
    size_t at = 0;
    ASSERT_EQ(find_invalid_utf8(bytes), std::string_view::npos) << uint32_t{c};
    ASSERT_EQ(uint32_t{next_code_point(bytes, &at)}, uint32_t{c});
    ASSERT_EQ(at, bytes.size());
    ASSERT_EQ(previous_code_point("x" + bytes, bytes.size() + 1), 1u);
  }
}

TEST(Utf8, APrefixEndsWhereACharacterEnds) {
  const std::string text = "a\u00e9\u4e2d";  // 1 + 2 + 3 bytes
  const size_t ends[] = {0, 1, 1, 3, 3, 3, 6, 6};
  for (size_t most = 0; most < std::size(ends); ++most)
    EXPECT_EQ(utf8_prefix(text, most), text.substr(0, ends[most])) << most;
}

TEST(JsonExtent, CountsLevelsAndTheNamesOfEachObject) {
  EXPECT_EQ(json_extent("1", 9).depth, 0);
  EXPECT_EQ(json_extent(R"({"a": [{"b": 1, "c": ":{[,"}, {"d": {}}]})", 9).depth, 4);
  EXPECT_EQ(json_extent(R"({"a": [{"b": 1, "c": ":{[,"}, {"d": {}}]})", 9).members, 2);
  EXPECT_EQ(json_extent(R"({"\":\"": 1, "b\\": 2, "c": [3, 4, 5]})", 9).members, 3);
  EXPECT_GT(json_extent(std::string(1000, '['), 64).depth, 64);
  EXPECT_EQ(json_extent("]]}}:::", 9).members, 0);
}

TEST(LossyUtf8, OneReplacementForEachMaximalPartOfACharacter) {
  EXPECT_EQ(lossy("a\xff z"), std::string("a") + kBad + " z");
  EXPECT_EQ(lossy("\x80\x80"), repeated(2));
  EXPECT_EQ(lossy("\xe4\xb8"), repeated(1));
  EXPECT_EQ(lossy("\xe4\xb8z"), repeated(1) + "z");
  EXPECT_EQ(lossy("\xe4\xe4\xb8\xad"), repeated(1) + "\xe4\xb8\xad");
  EXPECT_EQ(lossy("\xf0\x9f\x99"), repeated(1));
  EXPECT_EQ(lossy("\xf0\x80\x80\x80"), repeated(4));
  EXPECT_EQ(lossy("\xed\xa0\x80"), repeated(3));
  EXPECT_EQ(lossy("\xf4\x90\x80\x80"), repeated(4));
  // The Unicode standard's own example, table 3-8.
  EXPECT_EQ(lossy("\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64"),
            "a" + repeated(3) + "b" + repeated(1) + "c" + repeated(2) + "d");
}

TEST(LossyUtf8, WhereTheBytesAreCutDoesNotMatter) {
  auto random = seeded_random();
  for (int32_t round = 0; round < 2000; ++round) {
    const std::string bytes = random_text(random,
                                          {"a", "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x99\x82",
                                           "\xf0", "\x9f", "\xe4", "\xff", "\xed", "\xa0"},
                                          12);
    LossyUtf8 decoder;
    std::string out;
    for (const char byte : bytes) {
      decoder.push({&byte, 1}, &out);
      ASSERT_EQ(find_invalid_utf8(out), std::string_view::npos);
    }
    decoder.finish(&out);

    EXPECT_EQ(out, lossy(bytes));
    if (find_invalid_utf8(bytes) == std::string_view::npos) {
      EXPECT_EQ(out, bytes);
    }
  }
}

}  // namespace
}  // namespace mimo::text
