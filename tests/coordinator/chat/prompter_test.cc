#include "coordinator/chat/prompter.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "coordinator/chat/reply_start.h"
#include "coordinator/chat/template_files.h"
#include "tests/coordinator/chat/chat_support.h"

namespace mimo::chat {
namespace {

constexpr const char* kSystem =
    "<|im_start|>system\nYou are MiMo, a helpful AI assistant engineered by Xiaomi.";

v1::ChatRequest hello() {
  v1::ChatRequest request;
  v1::ChatMessage* message = request.add_messages();
  message->set_role("user");
  message->set_content("Hello!");
  return request;
}

v1::ChatMessage* add_message(v1::ChatRequest* request, const char* role, const char* content) {
  v1::ChatMessage* message = request->add_messages();
  message->set_role(role);
  if (content != nullptr) message->set_content(content);
  return message;
}

TEST(Prompter, RendersTheCheckpointsTemplate) {
  EXPECT_EQ(tiny_prompter()->render(hello()).value(),
            std::string(kSystem) +
                "<|im_end|><|im_start|>user\nHello!<|im_end|><|im_start|>assistant\n"
                "<think></think>");
}

TEST(Prompter, ThinkingIsTheTemplatesChoiceUnlessSaid) {
  v1::ChatRequest request = hello();
  const auto prompter = tiny_prompter();

  EXPECT_EQ(reply_start(prompter->render(request).value()), ReplyStart::kAnswering);
  request.set_enable_thinking(false);
  EXPECT_EQ(reply_start(prompter->render(request).value()), ReplyStart::kAnswering);
  request.set_enable_thinking(true);
  EXPECT_EQ(reply_start(prompter->render(request).value()), ReplyStart::kMayThink);
  EXPECT_EQ(reply_start("x<think>\n"), ReplyStart::kThinking);
  EXPECT_EQ(reply_start("<think>\n\n</think>\n\n"), ReplyStart::kAnswering);
  EXPECT_EQ(reply_start(""), ReplyStart::kMayThink);
}

TEST(Prompter, ToolsCallsAndResults) {
  v1::ChatRequest request = request_with_tools();
  request.mutable_tools()->DeleteSubrange(1, 1);
  request.mutable_tools(0)->set_parameters(
      R"({"type": "object", "properties": {"zone": {"type": "string"}, "city": {"type": "string",
          "description": "Where", "enum": ["Paris", "Rome"]}}})");
  v1::ChatMessage* call = add_message(&request, "assistant", nullptr);
  call->set_reasoning_content("I ask.");
  call->add_tool_calls()->set_name("get_weather");
  call->mutable_tool_calls(0)->set_id("call_1");
  call->mutable_tool_calls(0)->set_arguments(R"({"zone": "EU", "city": "Paris", "n": [1, {}]})");
  add_message(&request, "tool", "sunny")->set_tool_call_id("call_1");

  EXPECT_EQ(
      tiny_prompter()->render(request).value(),
      std::string(kSystem) +
          "\n\n# Tools\n\nYou may call one or more functions to help with the user's request. The "
          "functions are listed here:\n<tools>\n<function>\n<name>get_weather</name>\n"
          "<description>Get the weather of a city</description>\n<parameters>\n<parameter>\n"
          "<name>zone</name>\n<type>string</type>\n</parameter>\n<parameter>\n<name>city</name>\n"
          "<type>string</type>\n<description>Where</description>\n<enum>[\"Paris\", \"Rome\"]"
          "</enum>\n</parameter>\n</parameters>\n</function>\n</tools>\n\nTo call a function, "
          "answer in this form:\n<tool_call>\n<function=NAME>\n<parameter=KEY>VALUE</parameter>\n"
          "</function>\n</tool_call><|im_end|><|im_start|>user\nWhat is the weather in Paris?"
          "<|im_end|><|im_start|>assistant\n<think>I ask.</think><tool_call>\n"
          "<function=get_weather>\n<parameter=zone>EU</parameter>\n<parameter=city>Paris"
          "</parameter>\n<parameter=n>[1, {}]</parameter>\n</function>\n</tool_call><|im_end|>"
          "<|im_start|>tool\n<tool_response>\nsunny\n</tool_response>\n<|im_end|>"
          "<|im_start|>assistant\n<think></think>");
}

TEST(Prompter, NoneHidesTheTools) {
  v1::ChatRequest request = request_with_tools();
  request.mutable_tool_choice()->set_mode(v1::ToolChoice::NONE);

  EXPECT_EQ(tiny_prompter()->render(request).value().find("# Tools"), std::string::npos);
}

TEST(Prompter, TheTemplateSeesWhatTransformersGivesIt) {
  TemplateFiles files;
  files.main =
      "{{ messages | tojson }}|{{ tools | tojson }}|{{ documents is none }}|{{ bos_token }}|"
      "{{ add_generation_prompt }}|{{ enable_thinking is defined }}|{{ mood }}";
  files.special_tokens = {{"bos_token", "<s>"}};
  v1::ChatRequest request = hello();
  request.mutable_messages(0)->set_name("Ann");
  add_message(&request, "assistant", nullptr)->add_tool_calls()->set_name("f");
  request.set_template_arguments(R"({"mood": "fine"})");
  v1::Tool* tool = request.add_tools();
  tool->set_name("f");
  const auto prompter = Prompter::create(files).value();

  EXPECT_EQ(
      prompter->render(request).value(),
      R"([{"role": "user", "content": "Hello!", "name": "Ann"}, {"role": "assistant", "content": "", )"
      R"("tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]}]|)"
      R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", )"
      R"("properties": {}}}}]|True|<s>|True|False|fine)");
  request.clear_tools();
  EXPECT_NE(prompter->render(request).value().find("|null|True|"), std::string::npos);
}

struct Refusal {
  const char* part;  // of the message
  void (*spoil)(v1::ChatRequest*);
};

TEST(Prompter, RefusesWhatIsWrongByName) {
  const std::vector<Refusal> refusals = {
      {"messages is empty", [](auto* r) { r->clear_messages(); }},
      {"messages[0].role is empty", [](auto* r) { r->mutable_messages(0)->clear_role(); }},
      {"messages[0].content is not set", [](auto* r) { r->mutable_messages(0)->clear_content(); }},
      {"messages[0].tool_calls[0].name is empty",
       [](auto* r) { r->mutable_messages(0)->add_tool_calls(); }},
      {"messages[0].tool_calls[0].arguments is \"[1]\": expected a JSON object",
       [](auto* r) {
         r->mutable_messages(0)->add_tool_calls()->set_name("f");
         r->mutable_messages(0)->mutable_tool_calls(0)->set_arguments("[1]");
       }},
      {"messages[0].tool_calls[0].arguments is nested more than 64 deep",
       [](auto* r) {
         r->mutable_messages(0)->add_tool_calls()->set_name("f");
         r->mutable_messages(0)->mutable_tool_calls(0)->set_arguments(std::string(1000, '{'));
       }},
      {"tools[0].name is empty", [](auto* r) { r->mutable_tools(0)->clear_name(); }},
      {"tools[1].name is \"get_weather\": expected a name that no other tool has",
       [](auto* r) { r->mutable_tools(1)->set_name("get_weather"); }},
      {"tools[0].name is \"a>b\"", [](auto* r) { r->mutable_tools(0)->set_name("a>b"); }},
      {"tools[0].parameters is \"nothing\"",
       [](auto* r) { r->mutable_tools(0)->set_parameters("nothing"); }},
      {"tools[0].parameters.type is \"\\\"array\\\"\": expected \"object\"",
       [](auto* r) { r->mutable_tools(0)->set_parameters(R"({"type": "array"})"); }},
      {"tools[0].parameters.properties is",
       [](auto* r) { r->mutable_tools(0)->set_parameters(R"({"properties": []})"); }},
      {"tool_choice.name is \"rm\": expected the name of one of the 2 tools",
       [](auto* r) {
         r->mutable_tool_choice()->set_mode(v1::ToolChoice::NAMED);
         r->mutable_tool_choice()->set_name("rm");
       }},
      {"tool_choice.mode is REQUIRED without tools",
       [](auto* r) {
         r->clear_tools();
         r->mutable_tool_choice()->set_mode(v1::ToolChoice::REQUIRED);
       }},
      {"constraint is set with tool_choice.mode REQUIRED",
       [](auto* r) {
         r->mutable_constraint()->set_regex("a");
         r->mutable_tool_choice()->set_mode(v1::ToolChoice::REQUIRED);
       }},
      {"tool_choice.mode is 9",
       [](auto* r) { r->mutable_tool_choice()->set_mode(static_cast<v1::ToolChoice::Mode>(9)); }},
      {"template_arguments is \"x\"", [](auto* r) { r->set_template_arguments("x"); }},
      {"template_arguments.messages is set",
       [](auto* r) { r->set_template_arguments(R"({"messages": []})"); }},
      {"template_arguments.enable_thinking is set",
       [](auto* r) {
         r->set_template_arguments(R"({"enable_thinking": true})");
         r->set_enable_thinking(true);
       }},
  };
  const auto prompter = tiny_prompter();
  for (const Refusal& refusal : refusals) {
    v1::ChatRequest request = request_with_tools();
    refusal.spoil(&request);

    const auto refused = prompter->render(request);

    ASSERT_FALSE(refused.ok()) << refusal.part;
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
    EXPECT_NE(refused.error().message.find(refusal.part), std::string::npos)
        << refused.error().message;
  }
}

TEST(Prompter, TheTemplatesOwnRefusalComesThrough) {
  TemplateFiles files;
  files.main = "{{ raise_exception('roles must alternate') }}";

  const auto refused = Prompter::create(files).value()->render(hello());

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("roles must alternate"), std::string::npos);
}

// A folder for one test's files.
class PrompterFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/prompter_files_" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
  }
  std::string folder_;
};

TEST_F(PrompterFiles, WithoutATemplateEveryChatIsRefused) {
  write("tokenizer_config.json", R"({"eos_token": "</s>"})");

  const auto prompter = Prompter::load(folder_).value();

  EXPECT_FALSE(prompter->has_template());
  const auto refused = prompter->render(hello());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_NE(refused.error().message.find("no chat template"), std::string::npos);
}

TEST_F(PrompterFiles, TheConfigsTemplateCountsWhereThereIsNoFile) {
  write(
      "tokenizer_config.json",
      R"({"bos_token": {"content": "<s>"}, "eos_token": null, "chat_template": "{{ bos_token }}C"})");

  EXPECT_EQ(Prompter::load(folder_).value()->render(hello()).value(), "<s>C");
  write("chat_template.jinja", "F{{ bos_token }}");
  EXPECT_EQ(Prompter::load(folder_).value()->render(hello()).value(), "F<s>");
}

TEST_F(PrompterFiles, NamedTemplatesAreChosenByTheTools) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "D"},
      {"name": "tool_use", "template": "T"}, {"name": "rag", "template": "R"}]})");
  const auto prompter = Prompter::load(folder_).value();

  EXPECT_EQ(prompter->render(hello()).value(), "D");
  EXPECT_EQ(prompter->render(request_with_tools()).value(), "T");
}

TEST_F(PrompterFiles, WhatCannotBeReadIsRefusedByName) {
  write("tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_NE(Prompter::load(folder_).error().message.find("chat_template is \"5\""),
            std::string::npos);
  write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "R"}]})");
  EXPECT_NE(Prompter::load(folder_).error().message.find("no entry named \"default\""),
            std::string::npos);
  write("tokenizer_config.json", R"({"bos_token": 5})");
  EXPECT_NE(Prompter::load(folder_).error().message.find("bos_token is \"5\""), std::string::npos);
  write("tokenizer_config.json", "{");
  EXPECT_FALSE(Prompter::load(folder_).ok());
  write("tokenizer_config.json", R"({"chat_template": "{% if %}"})");
  EXPECT_FALSE(Prompter::load(folder_).ok());
}

}  // namespace
}  // namespace mimo::chat
