#include "coordinator/chat/tool_set.h"

#include <unordered_set>
#include <utility>

#include "coordinator/chat/json_text.h"

namespace mimo::chat {
namespace {

using Json = nlohmann::ordered_json;

// No tool has parameters by itself; one that declares none is called with an empty object.
Result<Json> read_parameters(const std::string& text, const std::string& field) {
  if (text.empty()) return Json{{"type", "object"}, {"properties", Json::object()}};
  TRY_ASSIGN(Json schema, parse_object(text, field));
  if (schema.contains("type") && schema["type"] != "object")
    return invalid_argument(field + ".type is " + shown(schema["type"].dump()) +
                            ": expected \"object\"");
  if (schema.contains("properties") && !schema["properties"].is_object())
    return invalid_argument(field + ".properties is " + shown(schema["properties"].dump()) +
                            ": expected an object");
  return schema;
}

// A name stands between `<function=` and `>`.
Result<void> check_name(const std::string& name, const std::string& field) {
  if (name.empty()) return invalid_argument(field + " is empty: expected the tool's name");
  if (name.find_first_of("<>\r\n") != std::string::npos)
    return invalid_argument(field + " is " + shown(name) +
                            ": expected a name without <, > and line breaks");
  return {};
}

}  // namespace

const Json* ToolSpec::parameter(const std::string& key) const {
  if (parameters.contains("properties")) {
    const Json& properties = parameters["properties"];
    if (const auto found = properties.find(key); found != properties.end()) return &*found;
  }
  if (parameters.contains("additionalProperties")) return &parameters["additionalProperties"];
  return nullptr;
}

Result<ToolSet> ToolSet::create(const v1::ChatRequest& request) {
  ToolSet set;
  std::unordered_set<std::string> names;
  for (int i = 0; i < request.tools_size(); ++i) {
    const v1::Tool& given = request.tools(i);
    const std::string field = "tools[" + std::to_string(i) + "]";
    TRY(check_name(given.name(), field + ".name"));
    if (!names.insert(given.name()).second)
      return invalid_argument(field + ".name is " + shown(given.name()) +
                              ": expected a name that no other tool has");
    ToolSpec tool;
    tool.name = given.name();
    if (given.has_description()) tool.description = given.description();
    tool.strict = given.strict();
    TRY_ASSIGN(tool.parameters, read_parameters(given.parameters(), field + ".parameters"));
    set.tools_.push_back(std::move(tool));
  }
  return set;
}

const ToolSpec* ToolSet::find(std::string_view name) const {
  for (const ToolSpec& tool : tools_)
    if (tool.name == name) return &tool;
  return nullptr;
}

}  // namespace mimo::chat
