#include <algorithm>
#include <set>
#include <utility>

#include "grammar/json_schema.h"
#include "grammar/regex.h"
#include "grammar/schema_json.h"
#include "grammar/spec_grammar.h"

namespace mimo::grammar {
namespace {

// The formats that are texts, with the fields that each may have beside "type".
const std::map<std::string, std::set<std::string>>& formats() {
  static const std::map<std::string, std::set<std::string>> all = {
      {"const_string", {"value"}},
      {"json_schema", {"json_schema", "style"}},
      {"grammar", {"grammar"}},
      {"regex", {"pattern"}},
      {"any_text", {"excludes"}},
      {"sequence", {"elements"}},
      {"or", {"elements"}},
      {"optional", {"content"}},
      {"plus", {"content"}},
      {"star", {"content"}},
      {"repeat", {"min", "max", "content"}},
      {"tag", {"begin", "content", "end"}},
      {"triggered_tags", {"triggers", "tags", "at_least_one", "stop_after_first", "excludes"}},
      {"tags_with_separator", {"tags", "separator", "at_least_one", "stop_after_first"}}};
  return all;
}

class Tag {
 public:
  explicit Tag(const SpecLimits& limits) : limits_(limits) {}

  // The format with its schemas and expressions as grammars.
  Result<Json> format(const Json& given, const std::string& at);
  int64_t least_bound() const { return least_bound_; }

 private:
  void take(const EbnfRules& rules) { least_bound_ = std::min(least_bound_, rules.least_bound()); }
  Result<Json> as_grammar(const Json& given, const std::string& at);
  Result<void> check_tag(const Json& given, const std::string& at);
  static Error wrong(const std::string& at, const std::string& why) {
    return invalid_argument("\"" + at + "\": " + why);
  }

  const SpecLimits& limits_;
  int32_t num_formats_ = 0;
  int64_t least_bound_ = INT64_MAX;
};

Result<Json> Tag::as_grammar(const Json& given, const std::string& at) {
  const auto& type = given["type"].get_ref<const std::string&>();
  const char* field = type == "regex" ? "pattern" : type == "grammar" ? "grammar" : "json_schema";
  const std::string inside = pointer_to(at, field);
  if (!given.contains(field)) return wrong(inside, "is missing");
  std::string grammar;
  if (type == "json_schema") {
    if (given.contains("style") && given["style"] != "json")
      return wrong(pointer_to(at, "style"), "expected \"json\"");
    auto made = json_schema_grammar(given[field].dump(), limits_.schema);
    if (!made.ok()) return made.error().with_context("\"" + inside + "\"");
    take(made.value());
    grammar = made.value().text();
  } else {
    if (!given[field].is_string()) return wrong(inside, "expected a string");
    const auto& text = given[field].get_ref<const std::string&>();
    if (type == "regex") {
      const auto regex = parse_regex(text, /*whole=*/true, limits_.schema.regex);
      if (!regex.ok()) return regex.error().with_context("\"" + inside + "\"");
      const EbnfRules rules = regex_grammar(regex.value());
      take(rules);
      grammar = rules.text();
    } else {
      const auto checked = check_ebnf(text, limits_);
      if (!checked.ok()) return checked.error().with_context("\"" + inside + "\"");
      grammar = text;
    }
  }
  return Json{{"type", "grammar"}, {"grammar", grammar}};
}

Result<void> Tag::check_tag(const Json& given, const std::string& at) {
  for (const char* field : {"begin", "end"}) {
    const bool texts = given.contains(field) &&
                       (given[field].is_string() || (given[field].is_array() && field[0] == 'e'));
    if (!texts) return wrong(pointer_to(at, field), "expected a text");
    if (given[field].is_array())
      for (const Json& one : given[field])
        if (!one.is_string()) return wrong(pointer_to(at, field), "expected texts");
  }
  return {};
}

Result<Json> Tag::format(const Json& given, const std::string& at) {
  if (++num_formats_ > limits_.formats_max)
    return wrong(at, "more than " + std::to_string(limits_.formats_max) + " formats");
  if (!given.is_object() || !given.contains("type") || !given["type"].is_string())
    return wrong(at, "expected an object with a \"type\"");
  const auto& type = given["type"].get_ref<const std::string&>();
  const auto known = formats().find(type);
  if (known == formats().end()) return wrong(pointer_to(at, "type"), type + " is not supported");
  for (const auto& [name, field] : given.items())
    if (name != "type" && !known->second.contains(name))
      return wrong(pointer_to(at, name), "is not supported in " + type);
  if (type == "json_schema" || type == "regex" || type == "grammar") return as_grammar(given, at);
  if (type == "tag") TRY(check_tag(given, at));
  if (type == "repeat")
    for (const char* field : {"min", "max"})
      if (given.contains(field) &&
          (!given[field].is_number_integer() || given[field] > limits_.repetition_max))
        return wrong(pointer_to(at, field),
                     "expected at most " + std::to_string(limits_.repetition_max));

  Json made = given;
  for (const char* field : {"elements", "tags"}) {
    if (!given.contains(field)) continue;
    if (!given[field].is_array()) return wrong(pointer_to(at, field), "expected an array");
    for (size_t i = 0; i < given[field].size(); ++i) {
      const std::string inside = pointer_to(pointer_to(at, field), std::to_string(i));
      TRY_ASSIGN(made[field][i], format(given[field][i], inside));
    }
  }
  if (given.contains("content")) {
    TRY_ASSIGN(made["content"], format(given["content"], pointer_to(at, "content")));
  }
  return made;
}

}  // namespace

Result<EngineText> checked_structural_tag(const std::string& json, const std::string& free_until,
                                          const SpecLimits& limits) {
  TRY_ASSIGN(const Json given, parse_json(json, limits.schema.depth_max));
  const bool has_format = given.is_object() && given.contains("format") &&
                          (!given.contains("type") || given["type"] == "structural_tag");
  if (!has_format)
    return invalid_argument(
        "expected an object with \"type\": \"structural_tag\" and a \"format\"");
  for (const auto& [name, field] : given.items())
    if (name != "type" && name != "format") return invalid_argument("\"/" + name + "\" is unknown");
  Tag tag(limits);
  TRY_ASSIGN(Json format, tag.format(given["format"], "/format"));
  if (!free_until.empty()) {
    const Json free = {{"type", "any_text"}, {"excludes", Json::array({free_until})}};
    const Json word = {{"type", "const_string"}, {"value", free_until}};
    format = Json{{"type", "sequence"}, {"elements", Json::array({free, word, format})}};
  }
  EngineText made;
  made.kind = EngineText::Kind::kStructuralTag;
  made.text = Json{{"type", "structural_tag"}, {"format", format}}.dump();
  made.least_bound = tag.least_bound();
  return made;
}

}  // namespace mimo::grammar
