// Random bytes, random tokens and mutated templates: read or refused, never a crash.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "coordinator/template/chat_template.h"

namespace mimo::chat {
namespace {

uint64_t seed() {
  const char* given = std::getenv("MIMO_TEST_SEED");
  const uint64_t value =
      given == nullptr ? std::random_device()() : std::strtoull(given, nullptr, 10);
  std::cout << "MIMO_TEST_SEED=" << value << " replays this\n";
  return value;
}

const nlohmann::ordered_json& context() {
  static const nlohmann::ordered_json value = nlohmann::ordered_json::parse(R"({
      "messages": [{"role": "user", "content": "aé\n"}, {"role": "assistant", "content": null}],
      "x": 1, "y": [1, 2.5, "z", [true]], "s": "some <text>", "d": {"a": 1, "items": 2}})");
  return value;
}

void run(const std::string& source) {
  TemplateLimits limits;
  limits.steps_max = 20'000;
  limits.output_bytes_max = 100'000;
  const auto parsed = ChatTemplate::parse(source, limits);
  if (!parsed.ok()) {
    EXPECT_FALSE(parsed.error().message.empty());
    return;
  }
  const auto text = parsed.value().render(context());
  EXPECT_TRUE(!text.ok() || text.value().size() <= 100'000u);
}

TEST(ChatTemplateRandom, BytesAreReadOrRefused) {
  std::mt19937_64 random(seed());
  for (int i = 0; i < 3000; ++i) {
    std::string source;
    for (uint64_t n = random() % 60; n > 0; --n) source.push_back(static_cast<char>(random()));
    run("{{ " + source + " }}");
    run(source);
  }
}

TEST(ChatTemplateRandom, TokensAreReadOrRefused) {
  const std::vector<std::string> tokens = {"{{",       "}}",        "{%",         "%}",
                                           "{#",       "#}",        "{%-",        "-%}",
                                           "{{-",      "-}}",       "+%}",        "if",
                                           "else",     "elif",      "endif",      "for",
                                           "in",       "endfor",    "set",        "endset",
                                           "macro",    "endmacro",  "call",       "endcall",
                                           "filter",   "endfilter", "with",       "endwith",
                                           "raw",      "endraw",    "generation", "endgeneration",
                                           "break",    "continue",  "not",        "and",
                                           "or",       "is",        "defined",    "(",
                                           ")",        "[",         "]",          "{",
                                           "}",        ",",         ":",          ".",
                                           "|",        "~",         "+",          "-",
                                           "*",        "/",         "//",         "%",
                                           "**",       "==",        "<",          "=",
                                           "x",        "y",         "s",          "d",
                                           "messages", "loop",      "ns",         "namespace",
                                           "range",    "upper",     "map",        "select",
                                           "tojson",   "join",      "list",       "1",
                                           "2.5",      "'q'",       "\"%s\"",     "'{}'",
                                           "none",     "true",      "items",      "caller",
                                           "\n",       " "};
  std::mt19937_64 random(seed());
  for (int i = 0; i < 6000; ++i) {
    std::string source = random() % 2 == 0 ? "{{ " : "{% ";
    for (uint64_t n = random() % 24; n > 0; --n) {
      source += tokens[random() % tokens.size()];
      if (random() % 4 != 0) source += " ";
    }
    run(source);
  }
}

TEST(ChatTemplateRandom, ChangedTemplatesAreReadOrRefused) {
  std::vector<std::string> sources;
  for (const char* name :
       {"chatml", "headers_and_tools", "alternating", "reversed_namespace", "flags_in_namespace",
        "model_turns", "xml_arguments", "tool_macros", "typed_channels"}) {
    std::ifstream file(std::string(MIMO_SOURCE_DIR "/tests/coordinator/template/families/") + name +
                       ".jinja");
    sources.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    ASSERT_FALSE(sources.back().empty()) << name;
  }
  std::mt19937_64 random(seed());
  for (int i = 0; i < 1500; ++i) {
    std::string source = sources[random() % sources.size()];
    for (uint64_t n = 1 + random() % 4; n > 0 && !source.empty(); --n) {
      const size_t at = random() % source.size();
      const size_t length = random() % 12;
      if (random() % 2 == 0) source.erase(at, length);
      const std::string& other = sources[random() % sources.size()];
      source.insert(std::min(at, source.size()), other, random() % other.size(), length);
    }
    run(source);
  }
}

}  // namespace
}  // namespace mimo::chat
