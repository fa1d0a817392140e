#include "coordinator/template/chat_template.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace mimo::chat {
namespace {

using Json = nlohmann::ordered_json;

Result<std::string> render(const std::string& source, const Json& context = Json::object(),
                           const TemplateLimits& limits = {}) {
  TRY_ASSIGN(const ChatTemplate parsed, ChatTemplate::parse(source, limits));
  return parsed.render(context);
}

std::string message_of(const std::string& source, const Json& context = Json::object(),
                       const TemplateLimits& limits = {}) {
  const auto result = render(source, context, limits);
  EXPECT_FALSE(result.ok()) << source << " gives " << (result.ok() ? result.value() : "");
  if (result.ok()) return "";
  EXPECT_EQ(result.error().code, Code::kInvalidArgument);
  return result.error().message;
}

TEST(ChatTemplate, RendersWithTheContext) {
  const auto parsed =
      ChatTemplate::parse("{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}");

  const auto text = parsed.value().render(
      {{"messages",
        {{{"role", "user"}, {"content", "a\xc3\xa9"}}, {{"role", "x"}, {"content", 1.0}}}}});

  EXPECT_EQ(text.value(), "user:a\xc3\xa9;x:1.0;");
}

TEST(ChatTemplate, SyntaxErrorsNameTheLineAndWhatWasExpected) {
  EXPECT_EQ(
      message_of("a\n{% if x %}\nb"),
      "template line 3: expected '{% elif %}' or '{% else %}' or '{% endif %}', got the end of the "
      "template");
  EXPECT_EQ(message_of("{{ a b }}"), "template line 1: expected '}}', got 'b'");
  EXPECT_EQ(message_of("\n\n{{ (a }}"), "template line 3: unexpected '}', expected ')'");
  EXPECT_EQ(message_of("{{ x | nothing }}"), "template line 1: no filter is named 'nothing'");
  EXPECT_EQ(message_of("{# open"), "template line 1: a comment lacks its '#}'");
  EXPECT_EQ(message_of("{% include 'x' %}"),
            "template line 1: the tag 'include' is not expected here or not supported");
}

TEST(ChatTemplate, RenderingErrorsNameTheLine) {
  EXPECT_EQ(message_of("a\n{{ b.c }}"), "template line 2: 'b' is undefined");
  EXPECT_EQ(message_of("{% for x in y %}\n{{ x + 1 }}{% endfor %}", {{"y", {"z"}}}),
            "template line 2: cannot compute str + int");
  EXPECT_EQ(message_of("{% macro m() %}\n{{ 1 // 0 }}{% endmacro %}\n{{ m() }}"),
            "template line 2: division by zero");
}

TEST(ChatTemplate, RaisedMessagesComeThroughAsTheyAre) {
  EXPECT_EQ(message_of("\n{% if true %}{{ raise_exception('Roles must <alternate>') }}{% endif %}"),
            "Roles must <alternate>");
}

TEST(ChatTemplate, BadContextsAreNamed) {
  EXPECT_EQ(message_of("", Json::array()), "the template's context is array, expected an object");
  Json bad;
  bad["messages"] = Json::array({Json::object({{"content", "a\xff"}})});
  EXPECT_EQ(message_of("", bad),
            "the template's context, messages[0].content is no UTF-8 at byte 1");
  Json deep = 1;
  for (int i = 0; i < 200; ++i) deep = Json::array({deep});
  EXPECT_NE(message_of("", {{"x", deep}}).find("is nested too deep"), std::string::npos);
}

TEST(ChatTemplate, WholeNumbersBeyond64SignedBitsArePrintedAsTheyAre) {
  const Json context = {{"tool", {{"maximum", 18446744073709551615u}}}};
  EXPECT_EQ(render("{{ tool.maximum }} {{ tool | tojson }} {{ tool }}", context).value(),
            R"(18446744073709551615 {"maximum": 18446744073709551615} )"
            R"({'maximum': 18446744073709551615})");
  EXPECT_FALSE(render("{{ tool.maximum + 1 }}", context).ok());
}

TEST(ChatTemplate, SourcesThatAreNoUtf8OrTooLongAreRefused) {
  EXPECT_EQ(message_of("a\xc3"), "the template is no UTF-8 at byte 1");
  TemplateLimits limits;
  limits.source_bytes_max = 3;
  EXPECT_EQ(message_of("abcd", Json::object(), limits), "the template has 4 bytes, at most 3");
}

TEST(ChatTemplate, NothingChangesAListOrADict) {
  for (const char* source : {"{{ x.append(1) }}", "{{ x.pop() }}", "{{ x.clear() }}",
                             "{{ d.update({}) }}", "{{ d.pop('a') }}", "{{ d.setdefault('b', 1) }}",
                             "{{ x.sort() }}", "{{ x.extend([1]) }}"}) {
    EXPECT_NE(message_of(source, {{"x", {1, 2}}, {"d", {{"a", 1}}}}).find("is not for templates"),
              std::string::npos);
  }
}

TEST(ChatTemplate, TimeIsWhatItIsGiven) {
  const auto parsed = ChatTemplate::parse("{{ strftime_now('%d %b %Y %H:%M %j %%') }}");
  std::tm now{};
  now.tm_year = 126;
  now.tm_mday = 9;
  now.tm_yday = 8;

  EXPECT_EQ(parsed.value().render(Json::object(), now).value(), "09 Jan 2026 00:00 009 %");
}

// What a test may take: as many steps as anybody, where they are not slowed by instruments.
TemplateLimits affordable() {
  TemplateLimits limits;
#ifdef __SANITIZE_ADDRESS__
  limits.steps_max = 300'000;
#endif
  return limits;
}

// Templates that would take for ever, or all memory.
class Runaway : public ::testing::TestWithParam<const char*> {};

TEST_P(Runaway, EndsWithAnError) {
  const std::string message = message_of(GetParam(), Json::object(), affordable());

  EXPECT_FALSE(message.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Templates, Runaway,
    ::testing::Values(
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{{ 'xxxxxxxxxxxxxxxx' * 999 }}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% "
        "endfor %}",
        "{% set ns = namespace(x='ab') %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% "
        "endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% "
        "endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% "
        "endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% "
        "endfor %}{{ ns.x | tojson }}",
        "{% set ns = namespace(x=[1], y=[1]) %}{% for a in range(99) %}{% set ns.x = [ns.x, ns.x] "
        "%}"
        "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(9999) %}{% set ns.x = [ns.x] %}{% endfor "
        "%}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(9999) %}{% set ns.x = ns.x | "
        "map('string') %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(9999) %}{% set ns.x = [ns.x | "
        "map('string')] %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(9999) %}{% for b in ns.x if b %}{% set "
        "ns.x = [loop] %}"
        "{% endfor %}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(f) %}{{ f(f) }}{% endmacro %}{{ m(m) }}", "{{ 'x' * 9999999999 }}",
        "{{ [0] * 9999999999 }}", "{{ 'x' * 9223372036854775807 }}", "{{ 'x'.center(9999999999) }}",
        "{{ 'x'.ljust(9223372036854775807) }}", "{{ 'x'.zfill(9999999999) }}",
        "{{ 'x' | center(9999999999) }}", "{{ '%9999999999d' % 1 }}",
        "{{ '%99999999999999999999d' % 1 }}", "{{ '%.9999999999f' % 1 }}",
        "{{ '{:9999999999}'.format(1) }}", "{{ '{:.999999}'.format(1.5) }}",
        "{{ 'x\ny' | indent(9999999999) }}", "{{ [1] | tojson(indent=9999999999) }}",
        "{{ [1] | batch(9999999999, 0) | list }}", "{{ [1] | slice(9999999999) | list }}",
        "{{ range(100001) }}", "{{ 2 ** 63 }}", "{{ 9 ** 9999999999 }}", "{{ 1e308 ** 2 }}",
        "{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}",
        "{{ 9223372036854775807 * 2 }}", "{{ (-9223372036854775807 - 1) // -1 }}",
        "{{ -(-9223372036854775807 - 1) }}", "{{ (-9223372036854775807 - 1) | abs }}",
        "{{ 9223372036854775808 }}", "{{ 'a' | replace('', 'x' * 99999999) }}"));

TEST(ChatTemplate, DeepSourcesAreRefused) {
  const auto nested = [](const char* open, const char* close, int times) {
    std::string source;
    for (int i = 0; i < times; ++i) source += open;
    source += "1";
    for (int i = 0; i < times; ++i) source += close;
    return source;
  };
  for (const auto& [open, close] : {std::pair{"(", ")"},
                                    {"[", "]"},
                                    {"-", ""},
                                    {"not ", ""},
                                    {"{1:", "}"},
                                    {"f(", ")"},
                                    {"1+", ""},
                                    {"1 if 1 else ", ""},
                                    {"1~(", ")"},
                                    {"x|d(", ")"},
                                    {"x[", "]"}})
    EXPECT_NE(message_of("{{" + nested(open, close, 2999) + "}}").find("nested"), std::string::npos)
        << open;
  EXPECT_NE(message_of(nested("{% if 1 %}", "{% endif %}", 2999)).find("nested"),
            std::string::npos);
  EXPECT_NE(message_of(nested("{% for x in y %}", "{% endfor %}", 2999)).find("nested"),
            std::string::npos);
  EXPECT_NE(message_of("{{ x" + nested(".a", "", 2999) + "}}").size(), 0u);
}

// The deepest that is let through still fits a thread's stack, instrumented or not.
TEST(ChatTemplate, TheDeepestTemplateThatIsTakenRuns) {
  std::string expression = "m(n - 1)";
  for (int i = 0; i < 90; ++i) expression = "(" + expression + " ~ '')";
  const std::string macro = "{% macro m(n) %}{% if n > 0 %}{% if 1 %}{{ " + expression +
                            " }}{% endif %}{% endif %}{{ n }}{% endmacro %}";

  const auto text = render(macro + "{{ m(8) }}");

  EXPECT_EQ(text.value().substr(0, 9), "012345678");
  EXPECT_EQ(message_of(macro + "{{ m(38) }}"),
            "template line 1: the template runs more than 800 levels deep");
}

TEST(ChatTemplate, OutputIsBounded) {
  TemplateLimits limits;
  limits.output_bytes_max = 1000;

  EXPECT_EQ(message_of("{% for i in range(99) %}0123456789{% endfor %}x" + std::string(11, 'y'),
                       Json::object(), limits)
                .find("template line 1: the template makes a string of"),
            0u);
  EXPECT_EQ(render("{% for i in range(99) %}0123456789{% endfor %}", Json::object(), limits)
                .value()
                .size(),
            990u);
}

TEST(ChatTemplate, StepsAreBounded) {
  TemplateLimits limits;
  limits.steps_max = 1000;

  EXPECT_EQ(message_of("{% for i in range(9999) %}{% endfor %}", Json::object(), limits),
            "template line 1: the template takes more than 1000 steps");
}

}  // namespace
}  // namespace mimo::chat
