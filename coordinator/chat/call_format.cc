#include "coordinator/chat/call_format.h"

#include <array>
#include <optional>
#include <set>
#include <utility>

#include "coordinator/chat/argument_value.h"
#include "coordinator/chat/declared_types.h"
#include "coordinator/chat/json_text.h"

namespace mimo::chat {
namespace {

using Json = nlohmann::ordered_json;

// Of one strict tool: every parameter has the definitions that it uses for itself.
constexpr int64_t kSchemaBytesMax = 256 << 10;
constexpr std::string_view kValueEnd = "</parameter>";
constexpr uint32_t kPlainTypes = kNullType | kBooleanType | kIntegerType | kNumberType;

// What may stand in a schema without binding it further.
constexpr std::array<std::string_view, 10> kNotes = {
    "type",    "title",      "description", "default",  "examples",
    "example", "deprecated", "$comment",    "readOnly", "writeOnly"};

bool is_note(std::string_view name) {
  for (const std::string_view note : kNotes)
    if (name == note) return true;
  return false;
}

// The one keyword beside notes that the schema has, or "" when it has none; nothing when several.
std::optional<std::string> only_keyword(const Json& schema) {
  std::string found;
  for (const auto& [name, value] : schema.items()) {
    if (is_note(name)) continue;
    if (!found.empty()) return std::nullopt;
    found = name;
  }
  return found;
}

// The text between the quotes of an EBNF grammar.
std::string ebnf_escaped(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string made;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      made += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
      continue;
    }
    if (c == '"' || c == '\\') made += '\\';
    made += c;
  }
  return made;
}

// A string as it stands in the markup: raw, unless it would be read back as another.
std::string markup_text(const std::string& text) {
  if (unescape_markup(text) == text && text.find(kValueEnd) == std::string::npos) return text;
  std::string made;
  for (const char c : text) made += c == '&' ? "&amp;" : c == '<' ? "&lt;" : std::string(1, c);
  return made;
}

// One of the values, as they stand in the markup: strings as texts, others as JSON.
Json one_of(const Json& values) {
  std::vector<std::string> texts;
  for (const Json& value : values)
    texts.push_back(value.is_string() ? markup_text(value.get<std::string>()) : value.dump());
  return one_text_of(texts);
}

// The definitions that `part` of a schema refers to: pairs of section ("$defs", "definitions") and
// name.
void find_references(const Json& part, std::set<std::pair<std::string, std::string>>* found) {
  if (part.is_array())
    for (const Json& item : part) find_references(item, found);
  if (!part.is_object()) return;
  for (const auto& [key, value] : part.items()) {
    find_references(value, found);
    if (key != "$ref" || !value.is_string()) continue;
    if (auto place = definition_of(value.get_ref<const std::string&>())) found->insert(*place);
  }
}

// `schema` with the definitions that it refers to, and with those that they refer to.
Json with_definitions(const Json& schema, const Json& root) {
  Json made = schema;
  std::set<std::pair<std::string, std::string>> found;
  std::vector<const Json*> unread = {&schema};
  while (!unread.empty()) {
    std::set<std::pair<std::string, std::string>> next;
    find_references(*unread.back(), &next);
    unread.pop_back();
    for (const auto& place : next) {
      const auto& [section, name] = place;
      const bool is_there = !schema.contains(section) && root.contains(section) &&
                            root[section].is_object() && root[section].contains(name);
      if (!is_there || !found.insert(place).second) continue;
      made[section][name] = root[section][name];
      unread.push_back(&root[section][name]);
    }
  }
  return made;
}

// A string stands raw in the markup, where only a list of values or no bound at all can be held to.
Result<Json> strict_string(const Json& schema, const std::string& place) {
  const auto keyword = only_keyword(schema);
  if (keyword && keyword->empty()) return free_text(kValueEnd);
  if (keyword == "enum" && schema["enum"].is_array() && !schema["enum"].empty())
    return one_of(schema["enum"]);
  if (keyword == "const") return one_of(Json::array({schema["const"]}));
  return invalid_argument(place + " is " + shown(schema.dump()) +
                          ": expected a string with at most enum or const, as the tool is strict");
}

Result<Json> strict_value(const Json& given, const ToolSpec& tool, const std::string& place,
                          int64_t* bytes_left) {
  const Json* schema = referred(given, tool.parameters);
  if (schema == nullptr || !schema->is_object())
    return invalid_argument(place + " is " + shown(given.dump()) +
                            ": expected a schema of an object, or a $ref that leads to one");
  const uint32_t types = declared_types(*schema, tool.parameters);
  if (types == 0)
    return invalid_argument(place + " is " + shown(schema->dump()) +
                            ": expected a schema with a type, as the tool is strict");
  if ((types & kStringType) != 0) return strict_string(*schema, place);
  Json whole = with_definitions(*schema, tool.parameters);
  *bytes_left -= static_cast<int64_t>(whole.dump().size());
  if (*bytes_left < 0)
    return invalid_argument("tool " + shown(tool.name) +
                            ": the schemas of its parameters, each with its definitions, are "
                            "larger than " +
                            std::to_string(kSchemaBytesMax) + " bytes together");
  return Json{{"type", "json_schema"}, {"json_schema", std::move(whole)}};
}

// As much as can be said of a value without refusing anything.
Json loose_value(const Json& given, const ToolSpec& tool) {
  const Json* schema = referred(given, tool.parameters);
  if (schema == nullptr || !schema->is_object()) return free_text(kValueEnd);
  const uint32_t types = declared_types(*schema, tool.parameters);
  const bool has_values =
      schema->contains("enum") && (*schema)["enum"].is_array() && !(*schema)["enum"].empty();
  if (has_values) return one_of((*schema)["enum"]);
  if (types == 0 || (types & ~kPlainTypes) != 0) return free_text(kValueEnd);
  Json names = Json::array();
  if ((types & kNullType) != 0) names.push_back("null");
  if ((types & kBooleanType) != 0) names.push_back("boolean");
  if ((types & kNumberType) != 0) {
    names.push_back("number");
  } else if ((types & kIntegerType) != 0) {
    names.push_back("integer");
  }
  return Json{{"type", "json_schema"},
              {"json_schema", {{"type", names.size() == 1 ? names[0] : names}}}};
}

bool is_required(const ToolSpec& tool, const std::string& key) {
  if (!tool.parameters.contains("required") || !tool.parameters["required"].is_array())
    return false;
  for (const Json& name : tool.parameters["required"])
    if (name == key) return true;
  return false;
}

// What a strict tool's schema may say beside its properties.
Result<void> check_strict(const ToolSpec& tool) {
  for (const auto& [name, value] : tool.parameters.items()) {
    const bool known = is_note(name) || name == "properties" || name == "required" ||
                       name == "additionalProperties" || name == "$defs" || name == "definitions" ||
                       name == "$schema" || name == "$id";
    if (!known)
      return invalid_argument("tool " + shown(tool.name) + ": parameters." + name +
                              " is set: expected a strict tool's schema to have properties, "
                              "required and additionalProperties only");
  }
  if (tool.parameters.contains("required") && tool.parameters["required"].is_array())
    for (const Json& name : tool.parameters["required"])
      if (!name.is_string() || !tool.parameters.contains("properties") ||
          !tool.parameters["properties"].contains(name.get<std::string>()))
        return invalid_argument("tool " + shown(tool.name) + ": parameters.required has " +
                                shown(name.dump()) + ": expected names of its properties");
  return {};
}

Result<Json> parameter_format(const ToolSpec& tool, const std::string& key, const Json& schema,
                              int64_t* bytes_left) {
  const std::string place = "tool " + shown(tool.name) + ": parameters.properties." + key;
  if (key.empty() || key.find_first_of("<>\r\n") != std::string::npos)
    return invalid_argument(place + ": expected a name without <, > and line breaks");
  Json value;
  if (tool.strict) {
    TRY_ASSIGN(value, strict_value(schema, tool, place, bytes_left));
  } else {
    value = loose_value(schema, tool);
  }
  Json made = in_order(Json::array(
      {fixed_text("\n<parameter=" + key + ">"), std::move(value), fixed_text(kValueEnd)}));
  if (is_required(tool, key)) return made;
  return Json{{"type", "optional"}, {"content", std::move(made)}};
}

Json tag(const std::string& begin, Json content, const std::string& end) {
  return {{"type", "tag"}, {"begin", begin}, {"content", std::move(content)}, {"end", end}};
}

}  // namespace

Json fixed_text(std::string_view text) { return {{"type", "const_string"}, {"value", text}}; }

Json one_text_of(const std::vector<std::string>& texts) {
  if (texts.size() == 1) return fixed_text(texts[0]);
  std::string rule = "root ::= ";
  for (size_t i = 0; i < texts.size(); ++i)
    rule += std::string(i > 0 ? " | " : "") + "\"" + ebnf_escaped(texts[i]) + "\"";
  return {{"type", "grammar"}, {"grammar", std::move(rule)}};
}

Json free_text(std::string_view without) {
  return {{"type", "any_text"}, {"excludes", Json::array({without})}};
}

Json in_order(Json formats) {
  if (formats.size() == 1) return std::move(formats[0]);
  return {{"type", "sequence"}, {"elements", std::move(formats)}};
}

Json either(Json formats) {
  if (formats.size() == 1) return std::move(formats[0]);
  return {{"type", "or"}, {"elements", std::move(formats)}};
}

Result<Json> call_format(const ToolSpec& tool) {
  if (tool.strict) TRY(check_strict(tool));
  int64_t bytes_left = kSchemaBytesMax;
  Json parts = Json::array({fixed_text("<tool_call>\n<function=" + tool.name + ">")});
  if (tool.parameters.contains("properties")) {
    for (const auto& [key, schema] : tool.parameters["properties"].items()) {
      TRY_ASSIGN(Json part, parameter_format(tool, key, schema, &bytes_left));
      parts.push_back(std::move(part));
    }
  }
  parts.push_back(fixed_text("\n</function>\n</tool_call>"));
  return in_order(std::move(parts));
}

Result<Json> any_call_format(const ToolSet& tools) {
  Json calls = Json::array();
  for (const ToolSpec& tool : tools.all()) {
    TRY_ASSIGN(Json call, call_format(tool));
    calls.push_back(std::move(call));
  }
  return either(std::move(calls));
}

Result<Json> text_with_calls_format(const ToolSet& tools, bool any_strict, bool stop_after_first) {
  const std::string begin = "<tool_call>";
  const std::string end = "</tool_call>";
  Json tags = Json::array();
  for (const ToolSpec& tool : tools.all()) {
    if (!any_strict) break;
    if (!tool.strict) {
      tags.push_back(tag(begin + "\n<function=" + tool.name + ">", free_text(end), end));
      continue;
    }
    // The same markup, its first and last word outside.
    TRY_ASSIGN(Json call, call_format(tool));
    Json& parts = call["elements"];
    parts[0] = fixed_text("\n<function=" + tool.name + ">");
    parts[parts.size() - 1] = fixed_text("\n</function>\n");
    tags.push_back(tag(begin, std::move(call), end));
  }
  if (tags.empty()) tags.push_back(tag(begin, free_text(end), end));
  return Json{{"type", "triggered_tags"},
              {"triggers", Json::array({begin})},
              {"tags", std::move(tags)},
              {"stop_after_first", stop_after_first}};
}

}  // namespace mimo::chat
