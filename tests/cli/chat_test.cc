#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "cli/chat_command.h"
#include "cli/chat_printer.h"
#include "cli/chat_tools.h"
#include "cli/conversation.h"
#include "cli/scratch_folder.h"

namespace mimo::cli {
namespace {

using Kind = ChatCommand::Kind;

TEST(ChatCommand, LinesAreMessagesUntilTheyBeginWithASlash) {
  EXPECT_EQ(parse_chat_line(" a /b ").value().text, " a /b ");
  EXPECT_EQ(parse_chat_line("//etc").value().text, "/etc");
  EXPECT_EQ(parse_chat_line("//etc").value().kind, Kind::kSay);
  EXPECT_EQ(parse_chat_line("/reset ").value().kind, Kind::kReset);
  EXPECT_EQ(parse_chat_line("/system  be\nbrief ").value().text, "be\nbrief");
  EXPECT_EQ(parse_chat_line("/system -").value().kind, Kind::kSetSystem);
  EXPECT_EQ(parse_chat_line("/system -").value().text, "");
  EXPECT_EQ(parse_chat_line("/system").value().kind, Kind::kShowSystem);
  EXPECT_FALSE(parse_chat_line("/think off").value().think);
  EXPECT_FLOAT_EQ(*parse_chat_line("/temperature 0.5").value().temperature, 0.5f);
  EXPECT_FALSE(parse_chat_line("/temperature default").value().temperature.has_value());
}

TEST(ChatCommand, RefusalsNameTheValueAndWhatWasExpected) {
  for (const auto& [line, said] : {std::pair{"/think maybe", "on or off"},
                                   {"/think", "on or off"},
                                   {"/temperature 101", "0 to 100"},
                                   {"/temperature nan", "0 to 100"},
                                   {"/temperature 1x", "0 to 100"},
                                   {"/reset all", "nothing"},
                                   {"/fly", "/help"}}) {
    const auto refused = parse_chat_line(line);
    ASSERT_FALSE(refused.ok()) << line;
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
    EXPECT_NE(refused.error().message.find(said), std::string::npos) << refused.error().message;
  }
}

v1::ChatMessage two_calls() {
  v1::ChatMessage reply;
  for (const char* name : {"f", "g"}) {
    v1::ToolCall& call = *reply.add_tool_calls();
    call.set_id(std::string("id-") + name);
    call.set_name(name);
    call.set_arguments("{}");
  }
  return reply;
}

TEST(Conversation, ResultsAnswerTheCallsInTheirOrder) {
  Conversation conversation(v1::ChatRequest(), "brief");
  conversation.say("q");
  conversation.answered(two_calls());

  ASSERT_NE(conversation.open_call(), nullptr);
  EXPECT_EQ(conversation.open_call()->name(), "f");
  conversation.say("1");
  EXPECT_EQ(conversation.open_call()->name(), "g");
  conversation.say("2");
  EXPECT_EQ(conversation.open_call(), nullptr);

  const v1::ChatRequest request = conversation.request();
  ASSERT_EQ(request.messages_size(), 5);
  EXPECT_EQ(request.messages(0).role(), "system");
  EXPECT_EQ(request.messages(2).role(), "assistant");
  EXPECT_EQ(request.messages(3).tool_call_id(), "id-f");
  EXPECT_EQ(request.messages(4).tool_call_id(), "id-g");
  EXPECT_EQ(request.messages(4).role(), "tool");
}

TEST(Conversation, WithdrawnMessagesAreNotSentAgainAndResultsStay) {
  Conversation conversation(v1::ChatRequest(), "");
  conversation.say("q");
  conversation.withdraw();
  EXPECT_EQ(conversation.request().messages_size(), 0);

  conversation.say("q");
  conversation.answered(two_calls());
  conversation.say("1");
  conversation.say("2");
  conversation.withdraw();

  EXPECT_EQ(conversation.request().messages_size(), 4);
}

TEST(Conversation, DeltasAddUpAndAPartOfNoCallIsRefused) {
  v1::ChatDelta delta;
  delta.set_content("a");
  delta.set_reasoning_content("r");
  v1::ToolCallDelta& part = *delta.add_tool_calls();
  part.set_name("f");
  part.set_arguments("{\"x\":");
  v1::ChatMessage reply;
  ASSERT_TRUE(add_delta(delta, reply).ok());
  part.clear_name();
  part.set_arguments("1}");
  ASSERT_TRUE(add_delta(delta, reply).ok());
  EXPECT_EQ(reply.content(), "aa");
  EXPECT_EQ(reply.reasoning_content(), "rr");
  EXPECT_EQ(reply.tool_calls(0).arguments(), "{\"x\":1}");

  part.set_index(2);
  EXPECT_FALSE(add_delta(delta, reply).ok());
  EXPECT_EQ(reply.content(), "aa");
}

std::string printed(const ChatPrinter::Options& options, const std::vector<v1::ChatDelta>& deltas) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* out = open_memstream(&text, &size);
  ChatPrinter printer(options, out);
  for (const v1::ChatDelta& delta : deltas) printer.delta(delta);
  printer.finish("note");
  std::fclose(out);
  std::string all(text, size);
  std::free(text);
  return all;
}

std::vector<v1::ChatDelta> thought_answer_and_call() {
  std::vector<v1::ChatDelta> deltas(4);
  deltas[0].set_reasoning_content("hm");
  deltas[1].set_content("A\033[31m\xc2\x9b");
  v1::ToolCallDelta& part = *deltas[2].add_tool_calls();
  part.set_name("f");
  part.set_arguments("{\"x\":");
  deltas[3].add_tool_calls()->set_arguments("1}");
  return deltas;
}

TEST(ChatPrinter, ATerminalGetsStylesAndNothingThatItObeys) {
  EXPECT_EQ(printed({true, true, true}, thought_answer_and_call()),
            "\033[2mhm\033[0m\n\nA\xe2\x90\x9b[31m\xef\xbf\xbd\n\033[36m-> f {\"x\":1}\033[0m\n"
            "\033[2mnote\033[0m\n");
}

TEST(ChatPrinter, ElsewhereOnlyTheAnswerIsWritten) {
  EXPECT_EQ(printed({false, false, false}, thought_answer_and_call()),
            "A\033[31m\xc2\x9b\n-> f {\"x\":1}\n");
}

TEST(ChatTools, AreReadWithAndWithoutTheirWrapping) {
  const auto folder = ScratchFolder::create().value();
  const std::string path = folder->path() + "/tools.json";
  std::ofstream(path) << R"([{"type": "function", "function": {"name": "f", "strict": true,
      "parameters": {"type": "object", "properties": {"b": {}, "a": {}}}}}, {"name": "g"}])";

  const auto tools = read_tools(path);

  ASSERT_TRUE(tools.ok()) << tools.error().message;
  ASSERT_EQ(tools.value().size(), 2u);
  EXPECT_TRUE(tools.value()[0].strict());
  EXPECT_EQ(tools.value()[0].parameters(), R"({"type":"object","properties":{"b":{},"a":{}}})");
  EXPECT_EQ(tools.value()[1].name(), "g");

  for (const char* bad : {"{", "{}", "[1]", R"([{"function": {}}])", R"([{"name": "f",
                          "description": 1}])"}) {
    std::ofstream(path) << bad;
    EXPECT_FALSE(read_tools(path).ok()) << bad;
  }
}

}  // namespace
}  // namespace mimo::cli
