#include "coordinator/chat/declared_types.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace mimo::chat {
namespace {

using Json = nlohmann::ordered_json;

constexpr int32_t kRefsMax = 16;       // one leading to the next
constexpr int32_t kDepthMax = 8;       // schemas made of schemas
constexpr int32_t kBranchesMax = 256;  // of them in all, however they refer to each other

uint32_t named_type(const Json& name) {
  if (!name.is_string()) return 0;
  const auto& text = name.get_ref<const std::string&>();
  if (text == "null") return kNullType;
  if (text == "boolean") return kBooleanType;
  if (text == "integer") return kIntegerType;
  if (text == "number") return kNumberType;
  if (text == "string") return kStringType;
  if (text == "array") return kArrayType;
  if (text == "object") return kObjectType;
  return 0;
}

uint32_t type_of(const Json& value) {
  if (value.is_null()) return kNullType;
  if (value.is_boolean()) return kBooleanType;
  if (value.is_number_integer()) return kIntegerType;
  if (value.is_number()) return kNumberType;
  if (value.is_string()) return kStringType;
  return value.is_array() ? kArrayType : kObjectType;
}

// The next part of a JSON pointer, unescaped, taken off its front.
std::string next_part(std::string_view* pointer) {
  pointer->remove_prefix(1);
  const size_t end = std::min(pointer->find('/'), pointer->size());
  std::string part;
  for (size_t i = 0; i < end; ++i) {
    const bool escaped = (*pointer)[i] == '~' && i + 1 < end;
    part += !escaped ? (*pointer)[i] : (*pointer)[++i] == '1' ? '/' : '~';
  }
  pointer->remove_prefix(end);
  return part;
}

const Json* follow(std::string_view ref, const Json& root) {
  if (!ref.starts_with('#')) return nullptr;
  ref.remove_prefix(1);
  const Json* at = &root;
  while (!ref.empty()) {
    if (ref[0] != '/') return nullptr;
    const std::string part = next_part(&ref);
    if (!at->is_object() || !at->contains(part)) return nullptr;
    at = &(*at)[part];
  }
  return at;
}

uint32_t types_at(const Json& schema, const Json& root, int32_t depth, int32_t* branches_left);

uint32_t types_of_values(const Json& schema) {
  uint32_t types = 0;
  if (schema.contains("const")) types = type_of(schema["const"]);
  if (schema.contains("enum") && schema["enum"].is_array())
    for (const Json& value : schema["enum"]) types |= type_of(value);
  return types;
}

uint32_t types_of_branches(const Json& schema, const Json& root, int32_t depth,
                           int32_t* branches_left) {
  for (const char* name : {"anyOf", "oneOf"}) {
    if (!schema.contains(name) || !schema[name].is_array()) continue;
    uint32_t types = 0;
    for (const Json& branch : schema[name]) {
      const uint32_t found = types_at(branch, root, depth + 1, branches_left);
      types |= found == 0 ? kStringType : found;  // a branch that allows anything
    }
    return types;
  }
  if (schema.contains("allOf") && schema["allOf"].is_array())
    for (const Json& part : schema["allOf"])
      if (const uint32_t types = types_at(part, root, depth + 1, branches_left)) return types;
  return 0;
}

uint32_t types_at(const Json& given, const Json& root, int32_t depth, int32_t* branches_left) {
  if (depth > kDepthMax || --*branches_left < 0) return 0;
  const Json* schema = referred(given, root);
  if (schema == nullptr || !schema->is_object()) return 0;
  if (schema->contains("type")) {
    const Json& type = (*schema)["type"];
    if (!type.is_array()) return named_type(type);
    uint32_t types = 0;
    for (const Json& name : type) types |= named_type(name);
    return types;
  }
  if (const uint32_t types = types_of_values(*schema)) return types;
  return types_of_branches(*schema, root, depth, branches_left);
}

}  // namespace

const Json* referred(const Json& schema, const Json& root) {
  const Json* at = &schema;
  for (int32_t i = 0; i < kRefsMax; ++i) {
    if (!at->is_object() || !at->contains("$ref") || !(*at)["$ref"].is_string()) return at;
    at = follow((*at)["$ref"].get_ref<const std::string&>(), root);
    if (at == nullptr) return nullptr;
  }
  return nullptr;
}

uint32_t declared_types(const Json& schema, const Json& root) {
  int32_t branches_left = kBranchesMax;
  return types_at(schema, root, 0, &branches_left);
}

std::optional<std::pair<std::string, std::string>> definition_of(std::string_view ref) {
  if (!ref.starts_with("#/")) return std::nullopt;
  ref.remove_prefix(1);
  std::string section = next_part(&ref);
  if ((section != "$defs" && section != "definitions") || !ref.starts_with('/'))
    return std::nullopt;
  return std::pair(std::move(section), next_part(&ref));
}

}  // namespace mimo::chat
