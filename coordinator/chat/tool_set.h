#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "mimo/v1/chat.pb.h"

namespace mimo::chat {

// A tool as it was declared.
struct ToolSpec {
  std::string name;
  std::optional<std::string> description;
  nlohmann::ordered_json parameters;  // JSON Schema of an object
  bool strict = false;

  // What the schema says of one parameter; null when it says nothing.
  const nlohmann::ordered_json* parameter(const std::string& key) const;
};

// A request's tools, by name.
//
// Thread: any; it does not change.
class ToolSet final {
 public:
  ToolSet() = default;

  // kInvalidArgument names the tool's place and field.
  static Result<ToolSet> create(const v1::ChatRequest& request);

  const ToolSpec* find(std::string_view name) const;
  const std::vector<ToolSpec>& all() const { return tools_; }
  bool empty() const { return tools_.empty(); }

 private:
  std::vector<ToolSpec> tools_;
};

}  // namespace mimo::chat
