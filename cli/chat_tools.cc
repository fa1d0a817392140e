#include "cli/chat_tools.h"

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace mimo::cli {
namespace {

using Json = nlohmann::ordered_json;

Result<v1::Tool> to_tool(const Json& given) {
  const bool wrapped = given.is_object() && given.contains("function");
  const Json& function = wrapped ? given["function"] : given;
  if (!function.is_object() || !function.contains("name") || !function["name"].is_string()) {
    return invalid_argument("expected an object with a name, found " + given.dump().substr(0, 80));
  }
  v1::Tool tool;
  tool.set_name(function["name"].get<std::string>());
  if (function.contains("description")) {
    if (!function["description"].is_string()) {
      return invalid_argument(tool.name() + ": description: expected a string");
    }
    tool.set_description(function["description"].get<std::string>());
  }
  if (function.contains("strict")) {
    if (!function["strict"].is_boolean()) {
      return invalid_argument(tool.name() + ": strict: expected true or false");
    }
    tool.set_strict(function["strict"].get<bool>());
  }
  const Json empty = {{"type", "object"}, {"properties", Json::object()}};
  tool.set_parameters(function.value("parameters", empty).dump());
  return tool;
}

}  // namespace

Result<std::vector<v1::Tool>> read_tools(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return invalid_argument(path + ": cannot be read");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const Json read = Json::parse(text, nullptr, false);
  if (!read.is_array()) return invalid_argument(path + ": expected a JSON array of functions");
  std::vector<v1::Tool> tools;
  for (const Json& given : read) {
    auto tool = to_tool(given);
    if (!tool.ok()) return tool.error().with_context(path);
    tools.push_back(std::move(tool).value());
  }
  return tools;
}

}  // namespace mimo::cli
