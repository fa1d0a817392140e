#include "coordinator/text/stop_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "coordinator/text/utf8.h"
#include "tests/coordinator/text/random_text.h"

namespace mimo::text {
namespace {

StopMatcher matcher(std::vector<std::string> stops, bool include_stop = false) {
  return StopMatcher::create({std::move(stops), include_stop}).value();
}

TEST(StopMatcher, WithoutStopsEverythingPassesAtOnce) {
  StopMatcher none = matcher({});

  EXPECT_EQ(none.push("hello").text, "hello");
  EXPECT_EQ(none.finish(), "");
  EXPECT_FALSE(none.stopped());
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBeginAStop) {
  StopMatcher stop = matcher({"\n\nUser:"});

  EXPECT_EQ(stop.push("Hi\n").text, "Hi");
  EXPECT_EQ(stop.push("\n").text, "");
  EXPECT_EQ(stop.push("\n").text, "\n");  // of three line ends two may begin it
  EXPECT_EQ(stop.push("Us").text, "");
  EXPECT_EQ(stop.push("ing").text, "\n\nUsing");
  EXPECT_EQ(stop.push(" \n\nUse").text, " ");
  EXPECT_EQ(stop.finish(), "\n\nUse");
}

TEST(StopMatcher, AMatchAcrossPiecesEndsTheText) {
  StopMatcher stop = matcher({"<end>", "zzz"});

  EXPECT_EQ(stop.push("one <e").text, "one ");
  const auto last = stop.push("nd> two");

  EXPECT_EQ(last.text, "");
  EXPECT_EQ(last.stop_idx, 0);
  EXPECT_TRUE(stop.stopped());
  EXPECT_EQ(stop.push("more").text, "");
  EXPECT_FALSE(stop.push("<end>").stop_idx.has_value());
  EXPECT_EQ(stop.finish(), "");
}

TEST(StopMatcher, TheStopItselfIsPartOfTheTextWhenAsked) {
  StopMatcher stop = matcher({"<end>"}, /*include_stop=*/true);

  EXPECT_EQ(stop.push("one <e").text, "one ");
  EXPECT_EQ(stop.push("nd> two").text, "<end>");
}

TEST(StopMatcher, FirstWholeThenLongestThenFirstGiven) {
  EXPECT_EQ(matcher({"abcd", "bc"}).push("abcd").stop_idx, 1);
  EXPECT_EQ(matcher({"abcd", "bc"}).push("abcd").text, "a");
  EXPECT_EQ(matcher({"bc", "abc"}).push("abc").stop_idx, 1);
  EXPECT_EQ(matcher({"x", "bc", "bc"}).push("abc").stop_idx, 1);
}

TEST(StopMatcher, RefusesStopsThatCannotBeMeant) {
  const auto empty = StopMatcher::create({{"ok", ""}, false});
  const auto broken = StopMatcher::create({{"a\xc3"}, false});

  ASSERT_FALSE(empty.ok());
  EXPECT_EQ(empty.error().code, Code::kInvalidArgument);
  EXPECT_NE(empty.error().message.find("stop[1] is empty"), std::string::npos);
  ASSERT_FALSE(broken.ok());
  EXPECT_NE(broken.error().message.find("stop[0] is not UTF-8 at byte 1"), std::string::npos);
}

struct Found {
  size_t end = std::string::npos;
  size_t size = 0;
  int32_t stop_idx = -1;
};

// The definition, on the whole text at once.
Found plain_search(const std::string& text, const std::vector<std::string>& stops) {
  Found best;
  for (size_t i = 0; i < stops.size(); ++i) {
    const size_t begin = text.find(stops[i]);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stops[i].size();
    if (end < best.end || (end == best.end && stops[i].size() > best.size))
      best = {end, stops[i].size(), static_cast<int32_t>(i)};
  }
  return best;
}

size_t num_to_hold(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t n = text.size(); n > 0; --n) {
    const std::string end = text.substr(text.size() - n);
    if (std::any_of(stops.begin(), stops.end(),
                    [&](const std::string& stop) { return stop.starts_with(end); }))
      return n;
  }
  return 0;
}

TEST(StopMatcher, AgreesWithAPlainSearchWhereverTheTextIsCut) {
  auto random = seeded_random();
  const std::vector<std::string> letters = {"a", "b", "\u00e9", "\u00e8"};
  for (int32_t round = 0; round < 4000; ++round) {
    std::vector<std::string> stops;
    for (int64_t n = pick(random, 0, 4); n > 0; --n)
      stops.push_back(pick_of(random, letters) + random_text(random, letters, 4));
    const bool include_stop = pick(random, 0, 1) == 1;
    StopMatcher stop = matcher(stops, include_stop);
    std::string given;
    std::string text;
    std::optional<int32_t> stop_idx;
    for (int64_t n = pick(random, 0, 12); n > 0; --n) {
      const std::string piece = random_text(random, letters, 4);
      given += piece;
      const auto output = stop.push(piece);
      text += output.text;
      stop_idx = output.stop_idx;
      ASSERT_EQ(find_invalid_utf8(output.text), std::string_view::npos);
      if (stop.stopped()) break;
      ASSERT_EQ(given.size() - text.size(), num_to_hold(given, stops));
    }
    text += stop.finish();

    const Found want = plain_search(given, stops);
    EXPECT_EQ(stop_idx.value_or(-1), want.stop_idx) << given;
    EXPECT_EQ(text,
              given.substr(0, want.stop_idx < 0 || include_stop ? want.end : want.end - want.size));
  }
}

}  // namespace
}  // namespace mimo::text
