#include "coordinator/text/nfc.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "tests/coordinator/text/random_text.h"

namespace mimo::text {
namespace {

std::string nfc(std::string_view text) {
  std::string storage;
  return std::string(to_nfc(text, &storage));
}

TEST(Nfc, ComposesAndOrders) {
  EXPECT_EQ(nfc(""), "");
  EXPECT_EQ(nfc("plain"), "plain");
  EXPECT_EQ(nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(nfc("a\u0301\u0323"), "\u1ea1\u0301");
  EXPECT_EQ(nfc("\u1100\u1161\u11a8"), "\uac01");
  EXPECT_EQ(nfc("\u212b\u2126"), "\u00c5\u03a9");
  EXPECT_EQ(nfc("\u0344"), "\u0308\u0301");
  EXPECT_EQ(nfc("\ufb01"), "\ufb01");  // compatibility characters stay
}

TEST(Nfc, TextThatIsComposedComesBackWithoutACopy) {
  const std::string text = "caf\u00e9 na\u00efve";
  std::string storage = "untouched";

  const std::string_view same = to_nfc(text, &storage);

  EXPECT_EQ(same.data(), text.data());
  EXPECT_EQ(storage, "untouched");
}

// Both ways through the code must agree: text with a long run elsewhere goes the other way.
TEST(Nfc, ALongRunOfMarksElsewhereChangesNothing) {
  auto random = seeded_random();
  std::string long_run = "e";
  for (int32_t i = 0; i < 100; ++i) long_run += "\u0316";
  for (int32_t round = 0; round < 500; ++round) {
    const std::string text =
        random_text(random,
                    {"e", "a", "\u0301", "\u0316", "\u0323", "\u0344", "\u0f73", "\u0f71", "\u0f75",
                     "\u1ead", "\u1100", "\u1161", "\u11a8", "\u4e2d", " "},
                    40);

    EXPECT_EQ(nfc(text + "x" + long_run), nfc(text) + "x" + long_run) << text;
  }
}

TEST(Nfc, AHundredThousandMarksTakeNoQuadraticTime) {
  std::string text = "e";
  std::string want = "e";
  for (int32_t i = 0; i < 50'000; ++i) text += "\u0301\u0316";
  for (int32_t i = 0; i < 50'000; ++i) want += "\u0316";
  want = "\u00e9" + want.substr(1);
  for (int32_t i = 0; i < 49'999; ++i) want += "\u0301";
  const auto start = std::chrono::steady_clock::now();

  const std::string got = nfc(text);

  EXPECT_EQ(got, want);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

}  // namespace
}  // namespace mimo::text
