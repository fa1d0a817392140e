#include "coordinator/chat/reply_parser.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/coordinator/chat/chat_support.h"

namespace mimo::chat {
namespace {

struct Case {
  const char* name;
  ReplyStart start;
  std::string text;
  std::string reasoning;
  std::string content;
  std::vector<std::pair<std::string, std::string>> calls;
};

const std::string kParis = call_text("get_weather", {{"city", "Paris"}});
const std::string kTime = call_text("get_time", {});
const std::pair<std::string, std::string> kParisCall = {"get_weather", R"({"city": "Paris"})"};
const std::pair<std::string, std::string> kTimeCall = {"get_time", "{}"};

using enum ReplyStart;

const std::vector<Case> kCases = {
    {"Empty", kMayThink, "", "", "", {}},
    {"Plain", kAnswering, "Hello, world.", "", "Hello, world.", {}},
    {"PlainWhereItMayThink", kMayThink, "Hello <b>you</b>", "", "Hello <b>you</b>", {}},
    {"Thinks", kMayThink, "<think>a\nb</think>c", "a\nb", "c", {}},
    {"ThinksAfterBlanks", kMayThink, "\n <think>a</think>c", "a", "c", {}},
    {"NothingIsStripped", kMayThink, "<think>\na\n</think>\n\nc\n", "\na\n", "\n\nc\n", {}},
    {"PromptOpenedTheThoughts", kThinking, "a</think>c", "a", "c", {}},
    {"OpenedAgain", kThinking, "<think>a</think>c", "a", "c", {}},
    {"OpenedAndBlank", kThinking, "\n", "\n", "", {}},
    {"MissingEnd", kMayThink, "<think>a, b and </thi", "a, b and </thi", "", {}},
    {"MissingEndOpened", kThinking, "all of it", "all of it", "", {}},
    {"ThinksUnasked", kAnswering, "<think>a</think>c", "a", "c", {}},
    {"AnEndWithoutABeginning", kAnswering, "\n</think>c", "", "c", {}},
    {"AnEndWhereItMayThink", kMayThink, "</think>c</think>", "", "c</think>", {}},
    {"ThoughtsEndAtOnce", kThinking, "\n</think>c", "\n", "c", {}},
    {"LaterTagsAreText", kMayThink, "x <think>a</think>", "", "x <think>a</think>", {}},
    {"SecondThoughtsAreText",
     kMayThink,
     "<think>a</think>b<think>c</think>",
     "a",
     "b<think>c</think>",
     {}},
    {"HalfATag", kMayThink, "<thin", "", "<thin", {}},
    {"EmptyThoughts", kMayThink, "<think></think>c", "", "c", {}},
    {"Call", kAnswering, kParis, "", "", {kParisCall}},
    {"CallWithoutParameters", kAnswering, kTime, "", "", {kTimeCall}},
    {"TextThenCall", kAnswering, "I look.\n" + kParis, "", "I look.\n", {kParisCall}},
    {"CallThenText", kAnswering, kParis + " done", "", " done", {kParisCall}},
    {"Calls", kAnswering, kParis + kTime + kParis, "", "", {kParisCall, kTimeCall, kParisCall}},
    {"BlanksBetweenCalls",
     kAnswering,
     "\n\n" + kParis + "\n" + kTime + "\n",
     "",
     "",
     {kParisCall, kTimeCall}},
    {"BlanksAlone", kAnswering, "\n\n", "", "\n\n", {}},
    {"BlanksBeforeText", kAnswering, "\n\nx", "", "\n\nx", {}},
    {"BlanksInTags",
     kAnswering,
     "<tool_call> <function=get_weather>  "
     "<parameter=city>Paris</parameter></function></tool_call>",
     "",
     "",
     {kParisCall}},
    {"ThoughtsThenCall", kMayThink, "<think>hm</think>\n" + kParis, "hm", "", {kParisCall}},
    {"CallInThoughts", kMayThink, "<think>" + kParis + "</think>ok", kParis, "ok", {}},
    {"CallInEndlessThoughts", kThinking, "a" + kParis, "a" + kParis, "", {}},
    {"UnknownFunction",
     kAnswering,
     call_text("rm", {{"x", "1"}}),
     "",
     call_text("rm", {{"x", "1"}}),
     {}},
    {"UnknownThenKnown",
     kAnswering,
     call_text("rm", {{"x", "1"}}) + kTime,
     "",
     call_text("rm", {{"x", "1"}}),
     {kTimeCall}},
    {"NoFunction",
     kAnswering,
     "<tool_call>\nget_time\n</tool_call>",
     "",
     "<tool_call>\nget_time\n</tool_call>",
     {}},
    {"TextInCall",
     kAnswering,
     "<tool_call>\n<function=get_time>hello</function></tool_call>",
     "",
     "<tool_call>\n<function=get_time>hello</function></tool_call>",
     {}},
    {"BrokenThenWhole",
     kAnswering,
     "<tool_call>\n<tool_call>" + kTime,
     "",
     "<tool_call>\n<tool_call>",
     {kTimeCall}},
    {"LostParameterEnd",
     kAnswering,
     "<tool_call><function=get_weather><parameter=city>Paris</function></tool_call>" + kTime,
     "",
     "<tool_call><function=get_weather><parameter=city>Paris</function></tool_call>",
     {kTimeCall}},
    {"CallInABrokenValue",
     kAnswering,
     "<tool_call><function=get_weather><parameter=city>x" + kTime,
     "",
     "<tool_call><function=get_weather><parameter=city>x",
     {kTimeCall}},
    {"CutOff",
     kAnswering,
     kParis.substr(0, kParis.size() - 3),
     "",
     kParis.substr(0, kParis.size() - 3),
     {}},
    {"CutOffAfterACall", kAnswering, kTime + "\n<tool_", "", "\n<tool_", {kTimeCall}},
    {"TagsInValues",
     kAnswering,
     call_text("get_weather", {{"city", "a</b><tool_call></x> <"}}),
     "",
     "",
     {{"get_weather", R"({"city": "a</b><tool_call></x> <"})"}}},
    {"EveryPlane",
     kMayThink,
     "<think>\u00e9\u20ac\U0001f600</think>\U0001f680 \u00df",
     "\u00e9\u20ac\U0001f600",
     "\U0001f680 \u00df",
     {}},
};

ReplyPiece parse(const Case& given, const std::vector<size_t>& cuts) {
  const ToolSet tools = all_tools();
  ReplyParser parser(given.start, tools, /*one_call=*/false);
  ReplyPiece piece;
  size_t at = 0;
  for (const size_t cut : cuts) {
    parser.push(std::string_view(given.text).substr(at, cut - at), &piece);
    at = cut;
  }
  parser.push(std::string_view(given.text).substr(at), &piece);
  parser.finish(&piece);
  return piece;
}

void expect_parsed(const Case& given, const ReplyPiece& piece) {
  EXPECT_EQ(piece.reasoning, given.reasoning) << given.name;
  EXPECT_EQ(piece.content, given.content) << given.name;
  ASSERT_EQ(piece.calls.size(), given.calls.size()) << given.name;
  for (size_t i = 0; i < piece.calls.size(); ++i) {
    EXPECT_EQ(piece.calls[i].name, given.calls[i].first) << given.name;
    EXPECT_EQ(piece.calls[i].arguments, given.calls[i].second) << given.name;
  }
}

TEST(ReplyParser, TakesRepliesApart) {
  for (const Case& given : kCases) expect_parsed(given, parse(given, {}));
}

TEST(ReplyParser, EverySplitGivesTheSame) {
  for (const Case& given : kCases) {
    std::vector<size_t> every;
    for (size_t cut = 0; cut <= given.text.size(); ++cut) {
      expect_parsed(given, parse(given, {cut}));
      every.push_back(cut);
    }
    expect_parsed(given, parse(given, every));
  }
}

// Texts made of markup and its pieces, split at random.
TEST(ReplyParser, RandomRepliesDoNotDependOnTheirSplit) {
  const char* given_seed = std::getenv("MIMO_TEST_SEED");
  const uint64_t seed =
      given_seed ? std::strtoull(given_seed, nullptr, 10) : std::random_device()();
  SCOPED_TRACE("MIMO_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::vector<std::string> words = {"<think>",
                                          "</think>",
                                          "<tool_call>",
                                          "</tool_call>",
                                          "<function=get_time>",
                                          "<function=get_weather>",
                                          "<function=",
                                          "</function>",
                                          "<parameter=city>",
                                          "<parameter=",
                                          "</parameter>",
                                          "\n",
                                          " ",
                                          "<",
                                          "</",
                                          ">",
                                          "x",
                                          "null",
                                          "\u00e9",
                                          kParis,
                                          kTime,
                                          "tool_call>"};
  const ToolSet tools = all_tools();
  for (int i = 0; i < 10'000; ++i) {
    Case given = {"random", static_cast<ReplyStart>(random() % 3), "", "", "", {}};
    for (uint64_t n = random() % 16; n > 0; --n) given.text += words[random() % words.size()];
    const ReplyPiece whole = parse(given, {});
    std::vector<size_t> cuts;
    for (size_t cut = 0; cut < given.text.size(); ++cut)
      if (random() % 3 == 0) cuts.push_back(cut);
    const ReplyPiece split = parse(given, cuts);

    ASSERT_EQ(split.reasoning, whole.reasoning) << given.text;
    ASSERT_EQ(split.content, whole.content) << given.text;
    ASSERT_EQ(split.calls.size(), whole.calls.size()) << given.text;
    for (size_t c = 0; c < whole.calls.size(); ++c) {
      ASSERT_EQ(split.calls[c].name, whole.calls[c].name) << given.text;
      ASSERT_EQ(split.calls[c].arguments, whole.calls[c].arguments) << given.text;
      ASSERT_TRUE(nlohmann::json::accept(whole.calls[c].arguments)) << given.text;
    }
  }
}

TEST(ReplyParser, GivesTextOutAtOnce) {
  const ToolSet tools = all_tools();
  ReplyParser parser(ReplyStart::kMayThink, tools, false);
  ReplyPiece piece;

  parser.push("<think>a", &piece);
  EXPECT_EQ(piece.reasoning, "a");
  parser.push("b<", &piece);
  EXPECT_EQ(piece.reasoning, "ab");
  parser.push("/b></think>", &piece);
  EXPECT_EQ(piece.reasoning, "ab</b>");
  parser.push("x", &piece);
  EXPECT_EQ(piece.content, "x");
  parser.push("<tool", &piece);
  EXPECT_EQ(piece.content, "x");
  parser.push("s>", &piece);
  EXPECT_EQ(piece.content, "x<tools>");
  parser.push("<tool_call><function=nobody>", &piece);
  EXPECT_EQ(piece.content, "x<tools><tool_call><function=nobody>");
}

TEST(ReplyParser, WithoutToolsMarkupIsText) {
  const ToolSet none;
  ReplyParser parser(ReplyStart::kAnswering, none, false);
  ReplyPiece piece;

  parser.push("\n" + kParis.substr(0, 30), &piece);

  EXPECT_EQ(piece.content, "\n" + kParis.substr(0, 30));
}

TEST(ReplyParser, OneCallIsTheFirst) {
  const ToolSet tools = all_tools();
  ReplyParser parser(ReplyStart::kAnswering, tools, /*one_call=*/true);
  ReplyPiece piece;

  parser.push("a" + kTime + "b" + kParis, &piece);
  parser.push("c", &piece);
  parser.finish(&piece);

  EXPECT_EQ(piece.content, "a");
  ASSERT_EQ(piece.calls.size(), 1u);
  EXPECT_EQ(piece.calls[0].name, "get_time");
}

// Many calls that begin in one another and break at the same place are read in one go.
TEST(ReplyParser, BrokenMarkupTakesNoLongerThanItIsLong) {
  std::string text;
  while (text.size() < 2'000'000) text += "<tool_call><function=get_weather><parameter=city>";
  Case given = {"nested", ReplyStart::kAnswering, text + "</function></tool_call>", "", "", {}};
  given.content = given.text;

  expect_parsed(given, parse(given, {}));
}

}  // namespace
}  // namespace mimo::chat
