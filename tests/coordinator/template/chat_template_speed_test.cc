#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "coordinator/template/chat_template.h"

namespace mimo::chat {
namespace {

// 20 turns of some 400 bytes: about 2,000 tokens of English.
nlohmann::ordered_json chat() {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  messages.push_back({{"role", "system"}, {"content", "You are a helpful assistant."}});
  for (int i = 0; i < 20; ++i) {
    std::string text;
    while (text.size() < 400) text += "The quick brown fox jumps over the lazy dog. ";
    messages.push_back({{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", text}});
  }
  return {{"messages", messages}, {"add_generation_prompt", true}, {"enable_thinking", true}};
}

TEST(ChatTemplateSpeed, AChatOf2000TokensTakesWellBelow300Microseconds) {
  std::ifstream file(MIMO_SOURCE_DIR "/models/tiny/chat_template.jinja");
  const std::string source{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto parsed = ChatTemplate::parse(source);
  const auto context = chat();
  double best_us = 1e9;

  for (int i = 0; i < 200; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const auto text = parsed.value().render(context);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    ASSERT_GT(text.value().size(), 8000u);
    best_us = std::min(best_us, took.count());
  }

  std::cout << "a chat of 2,000 tokens: " << best_us << " us\n";
#ifdef MIMO_SPEED_FLOORS
  EXPECT_LT(best_us, 150.0);
#endif
}

}  // namespace
}  // namespace mimo::chat
