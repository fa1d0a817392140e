#include "coordinator/chat/reply_constraint.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "coordinator/chat/reply_parser.h"
#include "tests/coordinator/chat/chat_support.h"
#include "tests/grammar/vocabulary.h"

namespace mimo::chat {
namespace {

using grammar::Spec;
using enum ReplyStart;

// For all tests: what is compiled stays compiled.
grammar::Grammars* grammars() {
  static const auto all = grammar::tiny_grammars();
  return all.get();
}

Result<std::optional<v1::Constraint>> constraint_of(const v1::ChatRequest& request,
                                                    ReplyStart start) {
  return reply_constraint(request, ToolSet::create(request).value(), start);
}

Spec spec_of(const v1::Constraint& constraint) {
  Spec spec;
  spec.free_until = constraint.free_until();
  switch (constraint.kind_case()) {
    case v1::Constraint::kStructuralTag:
      spec.kind = Spec::Kind::kStructuralTag;
      spec.text = constraint.structural_tag();
      break;
    case v1::Constraint::kRegex:
      spec.kind = Spec::Kind::kRegex;
      spec.text = constraint.regex();
      break;
    default:
      ADD_FAILURE() << constraint.DebugString();
  }
  return spec;
}

bool holds(const v1::ChatRequest& request, ReplyStart start, const std::string& text) {
  const auto constraint = constraint_of(request, start).value();
  return grammar::accepts(grammars(), spec_of(constraint.value()), text);
}

v1::ChatRequest with_choice(v1::ToolChoice::Mode mode, const std::string& name = "") {
  v1::ChatRequest request = request_with_tools();
  request.mutable_tool_choice()->set_mode(mode);
  request.mutable_tool_choice()->set_name(name);
  return request;
}

const std::string kParis = call_text("get_weather", {{"city", "Paris"}});
const std::string kTime = call_text("get_time", {});

TEST(ReplyConstraint, AFreeReplyHasNone) {
  EXPECT_EQ(constraint_of(request_with_tools(), kMayThink).value(), std::nullopt);
  v1::ChatRequest request = with_choice(v1::ToolChoice::AUTO);
  request.set_parallel_tool_calls(true);
  EXPECT_EQ(constraint_of(request, kAnswering).value(), std::nullopt);
}

TEST(ReplyConstraint, RequiredIsOneCallOrMore) {
  const v1::ChatRequest request = with_choice(v1::ToolChoice::REQUIRED);

  EXPECT_TRUE(holds(request, kAnswering, kParis));
  EXPECT_TRUE(holds(request, kAnswering, kTime + kParis + kTime));
  EXPECT_FALSE(holds(request, kAnswering, ""));
  EXPECT_FALSE(holds(request, kAnswering, "I look." + kParis));
  EXPECT_FALSE(holds(request, kAnswering, call_text("rm", {})));
  EXPECT_FALSE(holds(request, kAnswering, call_text("get_weather", {{"days", "3"}})));
  EXPECT_TRUE(
      holds(request, kAnswering, call_text("get_weather", {{"city", "a <b> c"}, {"days", "3"}})));
  EXPECT_FALSE(
      holds(request, kAnswering, call_text("get_weather", {{"city", "a"}, {"days", "many"}})));
}

TEST(ReplyConstraint, NamedIsOneCallOfThatTool) {
  const v1::ChatRequest request = with_choice(v1::ToolChoice::NAMED, "get_time");

  EXPECT_TRUE(holds(request, kAnswering, kTime));
  EXPECT_FALSE(holds(request, kAnswering, kParis));
  EXPECT_FALSE(holds(request, kAnswering, kTime + kTime));
}

TEST(ReplyConstraint, ThoughtsComeFirst) {
  const v1::ChatRequest request = with_choice(v1::ToolChoice::NAMED, "get_time");

  EXPECT_TRUE(holds(request, kThinking, "let me <tool_call> see</think>" + kTime));
  EXPECT_FALSE(holds(request, kThinking, kTime));
  EXPECT_TRUE(holds(request, kMayThink, "<think>let me see</think>" + kTime));
  EXPECT_TRUE(holds(request, kMayThink, kTime));
  EXPECT_FALSE(holds(request, kMayThink, "let me see</think>" + kTime));
  EXPECT_FALSE(holds(request, kMayThink, "<think>let me see"));
  EXPECT_FALSE(holds(request, kAnswering, "<think>let me see</think>" + kTime));
}

TEST(ReplyConstraint, AtMostOneCallEndsTheReply) {
  v1::ChatRequest request = request_with_tools();
  request.set_parallel_tool_calls(false);

  EXPECT_TRUE(holds(request, kAnswering, "no call <tool> at all"));
  EXPECT_TRUE(holds(request, kAnswering, "I look.\n" + kParis));
  EXPECT_FALSE(holds(request, kAnswering, kParis + kTime));
  EXPECT_FALSE(holds(request, kAnswering, kParis + "x"));
  request.mutable_tool_choice()->set_mode(v1::ToolChoice::REQUIRED);
  EXPECT_TRUE(holds(request, kAnswering, kParis));
  EXPECT_FALSE(holds(request, kAnswering, kParis + kTime));
}

TEST(ReplyConstraint, StrictToolsAreHeldToTheirSchemas) {
  v1::ChatRequest request = request_with_tools();
  request.mutable_tools(0)->set_strict(true);
  request.mutable_tools(0)->set_parameters(R"({"type": "object", "additionalProperties": false,
      "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"$ref": "#/$defs/days"},
                     "note": {"type": ["string", "null"]},
                     "spots": {"type": "array", "items": {"type": "integer"}}},
      "required": ["city"], "$defs": {"days": {"type": "integer", "maximum": 5}}})");
  const auto call = [](const std::vector<std::pair<std::string, std::string>>& parameters) {
    return "Well: " + call_text("get_weather", parameters);
  };

  EXPECT_TRUE(holds(request, kAnswering, "no call at all"));
  EXPECT_TRUE(holds(request, kAnswering, call({{"city", "Rome"}}) + " and " + kTime));
  EXPECT_TRUE(holds(request, kAnswering,
                    call({{"city", "Rome"}, {"days", "5"}, {"note", "x"}, {"spots", "[1, 2]"}})));
  EXPECT_FALSE(holds(request, kAnswering, call({{"city", "Oslo"}})));
  EXPECT_FALSE(holds(request, kAnswering, call({{"city", "Rome"}, {"days", "6"}})));
  EXPECT_FALSE(holds(request, kAnswering, call({{"city", "Rome"}, {"spots", "[\"a\"]"}})));
  EXPECT_FALSE(holds(request, kAnswering, call({{"city", "Rome"}, {"other", "1"}})));
  EXPECT_FALSE(holds(request, kAnswering, call({{"days", "1"}})));
  EXPECT_FALSE(holds(request, kAnswering, call_text("rm", {})));
  // One that is not strict is called as the model likes.
  EXPECT_TRUE(holds(request, kAnswering, call_text("get_time", {{"any", "thing"}})));
}

TEST(ReplyConstraint, AParameterHasTheDefinitionsThatItUses) {
  v1::ChatRequest request;
  auto* tool = request.add_tools();
  tool->set_name("f");
  tool->set_strict(true);
  request.mutable_tool_choice()->set_mode(v1::ToolChoice::REQUIRED);
  std::string unused = "[0";
  for (int32_t i = 0; i < 20000; ++i) unused += ",0";
  const std::string definitions =
      R"("$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/B"}, "minItems": 1},
                   "B": {"type": "object", "properties": {"n": {"$ref": "#/$defs/A"}},
                         "additionalProperties": false}, "C": {"enum": )" +
      unused + "]}}";
  std::string properties;
  for (int32_t i = 0; i < 300; ++i)
    properties +=
        std::string(i > 0 ? "," : "") + "\"p" + std::to_string(i) + R"(": {"type": "integer"})";
  tool->set_parameters(R"({"type": "object", "properties": {)" + properties + "}, " + definitions +
                       "}");
  EXPECT_LT(constraint_of(request, kAnswering).value()->structural_tag().size(), 100'000u);

  tool->set_parameters(R"({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}},
                           "required": ["a"], )" +
                       definitions + "}");
  const auto call = [](const std::string& value) {
    return "<tool_call>\n<function=f>\n<parameter=a>" + value +
           "</parameter>\n</function>\n</tool_call>";
  };
  EXPECT_TRUE(holds(request, kAnswering, call(R"([{"n": [{}]}])")));
  EXPECT_FALSE(holds(request, kAnswering, call(R"([{"n": []}])")));

  std::string used;
  for (int32_t i = 0; i < 300; ++i)
    used += std::string(i > 0 ? "," : "") + "\"p" + std::to_string(i) +
            R"(": {"type": "array", "items": {"$ref": "#/$defs/C"}})";
  tool->set_parameters(R"({"type": "object", "properties": {)" + used + "}, " + definitions + "}");
  const auto refused = constraint_of(request, kAnswering);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("tool \"f\""), std::string::npos)
      << refused.error().message;
}

TEST(ReplyConstraint, ASchemaWithMoreNamesThanCanBeLookedThroughIsRefused) {
  v1::ChatRequest request;
  request.add_tools()->set_name("f");
  const auto with_properties = [&](int32_t count) {
    std::string properties;
    for (int32_t i = 0; i < count; ++i)
      properties += std::string(i > 0 ? "," : "") + "\"p" + std::to_string(i) + "\": {}";
    request.mutable_tools(0)->set_parameters(R"({"type": "object", "properties": {)" + properties +
                                             "}}");
    return ToolSet::create(request).ok();
  };
  EXPECT_TRUE(with_properties(1024));
  EXPECT_FALSE(with_properties(1025));
}

TEST(ReplyConstraint, AStrictSchemaThatCannotBeHeldToIsRefusedByName) {
  const std::vector<std::pair<const char*, const char*>> refusals = {
      {R"({"properties": {"a": {"type": "string", "pattern": "x"}}})", "parameters.properties.a"},
      {R"({"properties": {"a": {}}})", "parameters.properties.a"},
      {R"({"properties": {"a": {"$ref": "#/nowhere"}}})", "parameters.properties.a"},
      {R"({"properties": {"a<": {"type": "null"}}})", "parameters.properties.a<"},
      {R"({"patternProperties": {}})", "parameters.patternProperties"},
      {R"({"required": ["a"]})", "parameters.required"}};
  for (const auto& [schema, place] : refusals) {
    v1::ChatRequest request = request_with_tools();
    request.mutable_tools(0)->set_strict(true);
    request.mutable_tools(0)->set_parameters(schema);

    const auto refused = constraint_of(request, kAnswering);

    ASSERT_FALSE(refused.ok()) << schema;
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
    EXPECT_NE(refused.error().message.find(place), std::string::npos) << refused.error().message;
  }
}

TEST(ReplyConstraint, TheRequestsOwnBindsTheAnswer) {
  v1::ChatRequest request = request_with_tools();
  request.clear_tools();
  request.mutable_constraint()->set_regex("[0-9]+");

  EXPECT_EQ(constraint_of(request, kAnswering).value()->regex(), "[0-9]+");
  EXPECT_TRUE(holds(request, kAnswering, "42"));
  EXPECT_FALSE(holds(request, kAnswering, "<think>x</think>42"));
  EXPECT_TRUE(holds(request, kThinking, "x</think>42"));
  EXPECT_TRUE(holds(request, kMayThink, "<think>x</think>42"));
  EXPECT_TRUE(holds(request, kMayThink, "42"));
  EXPECT_FALSE(holds(request, kMayThink, "x</think>42"));
}

TEST(ReplyConstraint, WithToolsItIsThatOrCalls) {
  v1::ChatRequest request = request_with_tools();
  request.mutable_constraint()->set_regex("[0-9]+");

  EXPECT_TRUE(holds(request, kAnswering, "42"));
  EXPECT_TRUE(holds(request, kMayThink, "<think>x</think>" + kParis + kTime));
  EXPECT_FALSE(holds(request, kAnswering, "Paris"));
  EXPECT_FALSE(holds(request, kAnswering, kParis + "42"));
}

TEST(ReplyConstraint, EveryKindGoesWithThoughts) {
  const std::vector<std::pair<std::string, void (*)(v1::Constraint*)>> kinds = {
      {R"({"a": 1})",
       [](auto* c) {
         c->set_json_schema(
             R"({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})");
       }},
      {R"({"b": {"c": [null, "x", 1.5]}})", [](auto* c) { c->set_json_object(true); }},
      {"abba", [](auto* c) { c->set_regex("[ab]*"); }},
      {"yes",
       [](auto* c) {
         c->mutable_choice()->add_texts("yes");
         c->mutable_choice()->add_texts("no");
       }},
      {"(())", [](auto* c) { c->set_grammar("root ::= \"(\" root? \")\""); }},
      {"<a>1", [](auto* c) {
         c->set_structural_tag(R"({"type": "structural_tag", "format": {"type": "sequence",
             "elements": [{"type": "const_string", "value": "<a>"},
                          {"type": "regex", "pattern": "[0-9]"}]}})");
       }}};
  for (const auto& [text, set] : kinds) {
    v1::ChatRequest request = request_with_tools();
    request.clear_tools();
    set(request.mutable_constraint());

    EXPECT_TRUE(holds(request, kMayThink, "<think>so</think>" + text)) << text;
    EXPECT_TRUE(holds(request, kMayThink, text)) << text;
    EXPECT_FALSE(holds(request, kMayThink, "<think>so</think>?")) << text;
  }
}

TEST(ReplyConstraint, AsManyChoicesAsAConstraintMayHaveGoWithThoughtsAndTools) {
  v1::ChatRequest request = request_with_tools();
  auto* texts = request.mutable_constraint()->mutable_choice();
  for (int32_t i = 0; i < 4000; ++i) texts->add_texts("choice " + std::to_string(i));
  texts->add_texts("\"quoted\\\n\tline\" \u00e9\u4e2d");
  for (const std::string text : {"choice 0", "choice 3999", "\"quoted\\\n\tline\" \u00e9\u4e2d"}) {
    EXPECT_TRUE(holds(request, kMayThink, "<think>so</think>" + text)) << text;
    EXPECT_TRUE(holds(request, kMayThink, text)) << text;
  }
  EXPECT_FALSE(holds(request, kMayThink, "choice 4000"));
  EXPECT_FALSE(holds(request, kMayThink, "\"quoted"));

  request.mutable_constraint()->mutable_choice()->clear_texts();
  EXPECT_FALSE(constraint_of(request, kMayThink).ok());
}

TEST(ReplyConstraint, ARequestThatSaysWhereItBeginsIsTakenByItsWord) {
  v1::ChatRequest request = request_with_tools();
  request.mutable_constraint()->set_regex("[0-9]+");
  request.mutable_constraint()->set_free_until("Answer: ");
  EXPECT_EQ(constraint_of(request, kMayThink).value()->SerializeAsString(),
            request.constraint().SerializeAsString());

  request.mutable_constraint()->clear_regex();
  EXPECT_FALSE(constraint_of(request, kMayThink).ok());
}

// Whatever is drawn under a forced call is a call, and its arguments are what the schema says.
TEST(ReplyConstraint, RandomDrawsAreCalls) {
  const char* given_seed = std::getenv("MIMO_TEST_SEED");
  const uint64_t seed =
      given_seed ? std::strtoull(given_seed, nullptr, 10) : std::random_device()();
  SCOPED_TRACE("MIMO_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  v1::ChatRequest request = with_choice(v1::ToolChoice::NAMED, "plan");
  v1::Tool* tool = request.add_tools();
  tool->set_name("plan");
  tool->set_strict(true);
  tool->set_parameters(R"({"type": "object", "properties": {"n": {"type": "integer"},
      "x": {"type": ["number", "null"]}, "on": {"type": "boolean"},
      "color": {"enum": ["red & blue", "&lt;</parameter>"]}}, "required": ["n", "color"]})");
  const ToolSet tools = ToolSet::create(request).value();
  const Spec spec = spec_of(constraint_of(request, kAnswering).value().value());
  for (int round = 0; round < 50; ++round) {
    grammar::Drawing drawing(grammars(), spec);
    ReplyParser parser(kAnswering, tools, /*one_call=*/true);
    ReplyPiece piece;
    std::string text;
    while (!drawing.may_end()) {
      const auto mask = drawing.fill();
      std::vector<int32_t> allowed;
      for (int32_t id = 0; id < drawing.vocabulary().vocab_limit; ++id)
        if (grammar::is_set(mask, id)) allowed.push_back(id);
      ASSERT_FALSE(allowed.empty()) << text;
      const int32_t id = allowed[random() % allowed.size()];
      drawing.rules().accept(id).value();
      text += drawing.token(id);
      parser.push(drawing.token(id), &piece);
    }
    parser.finish(&piece);

    ASSERT_EQ(piece.calls.size(), 1u) << text;
    ASSERT_TRUE(piece.content.empty()) << text;
    const auto arguments = nlohmann::json::parse(piece.calls[0].arguments);
    ASSERT_TRUE(arguments.at("n").is_number_integer()) << text;
    ASSERT_TRUE(arguments.at("color") == "red & blue" ||
                arguments.at("color") == "&lt;</parameter>");
    const auto x = arguments.value("x", nlohmann::json(nullptr));
    ASSERT_TRUE(x.is_number() || x.is_null()) << text;
    ASSERT_TRUE(arguments.value("on", nlohmann::json(true)).is_boolean()) << text;
  }
}

TEST(ReplyConstraint, TrueAndFalseAreSchemasWhereverTheReplyBegins) {
  for (const ReplyStart start : {kAnswering, kThinking, kMayThink}) {
    for (const char* schema : {"true", "false"}) {
      v1::ChatRequest request;
      request.mutable_constraint()->set_json_schema(schema);
      EXPECT_TRUE(constraint_of(request, start).ok()) << schema;
    }
  }
  v1::ChatRequest request;
  request.mutable_constraint()->set_json_schema("true");
  EXPECT_TRUE(holds(request, kMayThink, R"(<think>hm</think>{"a": [1]})"));
  EXPECT_FALSE(holds(request, kMayThink, R"(<think>hm</think>{"a": [1})"));
  request.mutable_constraint()->set_json_schema("17");
  EXPECT_FALSE(constraint_of(request, kMayThink).ok());
}

}  // namespace
}  // namespace mimo::chat
