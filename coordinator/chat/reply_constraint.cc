#include "coordinator/chat/reply_constraint.h"

#include <string>
#include <utility>

#include "coordinator/chat/call_format.h"
#include "coordinator/chat/json_text.h"

namespace mimo::chat {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kThinkEndText = "</think>";

// true and false are schemas, too.
Result<Json> parse_schema(const std::string& text) {
  if (text == "true" || text == "false") return Json(text == "true");
  return parse_object(text, "constraint.json_schema");
}

// The constraint as a format of a structural tag.
Result<Json> constraint_format(const v1::Constraint& constraint) {
  switch (constraint.kind_case()) {
    case v1::Constraint::kJsonSchema: {
      TRY_ASSIGN(Json schema, parse_schema(constraint.json_schema()));
      return Json{{"type", "json_schema"}, {"json_schema", std::move(schema)}};
    }
    case v1::Constraint::kJsonObject:
      return Json{{"type", "json_schema"},
                  {"json_schema", {{"type", "object"}, {"additionalProperties", true}}}};
    case v1::Constraint::kRegex:
      return Json{{"type", "regex"}, {"pattern", constraint.regex()}};
    case v1::Constraint::kGrammar:
      return Json{{"type", "grammar"}, {"grammar", constraint.grammar()}};
    case v1::Constraint::kChoice: {
      const auto& texts = constraint.choice().texts();
      if (texts.empty())
        return invalid_argument("constraint.choice has no texts: expected at least one");
      return one_text_of({texts.begin(), texts.end()});
    }
    case v1::Constraint::kStructuralTag: {
      TRY_ASSIGN(Json tag, parse_object(constraint.structural_tag(), "constraint.structural_tag"));
      if (!tag.contains("format"))
        return invalid_argument(
            "constraint.structural_tag has no \"format\": expected an object with one");
      return std::move(tag["format"]);
    }
    case v1::Constraint::KIND_NOT_SET:
      break;
  }
  return invalid_argument("constraint has no kind: expected one of its texts to be set");
}

// The answer's calls, as tool_choice, strict tools and parallel_tool_calls ask for them; null where
// they are free.
Result<Json> calls_format(const v1::ChatRequest& request, const ToolSet& tools) {
  const bool one_call = request.has_parallel_tool_calls() && !request.parallel_tool_calls();
  switch (request.tool_choice().mode()) {
    case v1::ToolChoice::NAMED:
      return call_format(*tools.find(request.tool_choice().name()));
    case v1::ToolChoice::REQUIRED: {
      TRY_ASSIGN(Json call, any_call_format(tools));
      if (one_call) return call;
      return Json{{"type", "plus"}, {"content", std::move(call)}};
    }
    default:
      break;
  }
  bool any_strict = false;
  for (const ToolSpec& tool : tools.all()) any_strict = any_strict || tool.strict;
  if (tools.empty() || (!any_strict && !one_call)) return Json(nullptr);
  return text_with_calls_format(tools, any_strict, one_call);
}

// The answer where the request has a constraint and tools: either that, or calls.
Result<Json> bound_or_calls(const v1::ChatRequest& request, const ToolSet& tools) {
  TRY_ASSIGN(Json bound, constraint_format(request.constraint()));
  TRY_ASSIGN(Json call, any_call_format(tools));
  const bool one_call = request.has_parallel_tool_calls() && !request.parallel_tool_calls();
  Json calls = one_call ? std::move(call) : Json{{"type", "plus"}, {"content", std::move(call)}};
  return either(Json::array({std::move(bound), std::move(calls)}));
}

v1::Constraint tag_of(Json format) {
  v1::Constraint made;
  const Json tag = {{"type", "structural_tag"}, {"format", std::move(format)}};
  made.set_structural_tag(tag.dump(-1, ' ', false, Json::error_handler_t::replace));
  return made;
}

// `answer` where the reply begins with thoughts, or with the answer itself.
Json after_thoughts(Json answer) {
  Json thoughts = Json::array(
      {fixed_text("<think>"), free_text(kThinkEndText), fixed_text(kThinkEndText), answer});
  return either(Json::array({in_order(std::move(thoughts)), std::move(answer)}));
}

}  // namespace

Result<std::optional<v1::Constraint>> reply_constraint(const v1::ChatRequest& request,
                                                       const ToolSet& tools, ReplyStart start) {
  const v1::Constraint& given = request.constraint();
  const bool is_bound = given.kind_case() != v1::Constraint::KIND_NOT_SET;
  if (!is_bound && !given.free_until().empty())
    return invalid_argument("constraint.free_until is " + shown(given.free_until()) +
                            " without a constraint: expected one");
  // A request that says itself where its constraint begins is taken by its word.
  if (is_bound && !given.free_until().empty()) return std::optional(given);
  // A constraint by itself goes on as it is, unless it would have to begin at two places.
  if (is_bound && tools.empty() && start != ReplyStart::kMayThink) {
    std::optional<v1::Constraint> made = given;
    if (start == ReplyStart::kThinking) made->set_free_until(kThinkEndText);
    return made;
  }
  Json answer;
  if (is_bound && tools.empty()) {
    TRY_ASSIGN(answer, constraint_format(given));
  } else if (is_bound) {
    TRY_ASSIGN(answer, bound_or_calls(request, tools));
  } else {
    TRY_ASSIGN(answer, calls_format(request, tools));
  }
  if (answer.is_null()) return std::optional<v1::Constraint>();
  if (start == ReplyStart::kMayThink) answer = after_thoughts(std::move(answer));
  std::optional<v1::Constraint> made = tag_of(std::move(answer));
  if (start == ReplyStart::kThinking) made->set_free_until(kThinkEndText);
  return made;
}

}  // namespace mimo::chat
