#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/template/chat_template.h"

namespace mimo::chat {
namespace {

TEST(ChatTemplateThreads, RenderTheSameTemplateAtOnce) {
  const auto parsed = ChatTemplate::parse(
      "{% macro m(x) %}[{{ x | upper }}]{% endmacro %}{% set ns = namespace(n=0) %}"
      "{% for w in words %}{% set ns.n = ns.n + loop.index %}{{ m(w) ~ 'constant' }}{% endfor %}"
      "{{ ns.n }}{{ {'a': [1, 'b']} | tojson }}{{ who }}");
  const ChatTemplate& shared = parsed.value();
  constexpr int kThreads = 4;
  std::vector<std::string> failures(kThreads);
  std::vector<std::thread> threads;

  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const std::string who = std::to_string(t * 1000 + i);
        const auto text = shared.render({{"words", {"a", "b"}}, {"who", who}});
        const std::string expected = "[A]constant[B]constant3{\"a\": [1, \"b\"]}" + who;
        if (!text.ok() || text.value() != expected) failures[static_cast<size_t>(t)] = who;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
}

}  // namespace
}  // namespace mimo::chat
