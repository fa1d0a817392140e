#include <algorithm>
#include <optional>
#include <utility>

#include "grammar/schema_compiler.h"

namespace mimo::grammar {
namespace {

// What `oneOf` may have, where each option is compared with each.
constexpr size_t kApartOptionsMax = 256;
constexpr size_t kApartValuesMax = 5000;

// They say nothing about which values are right.
const std::set<std::string>& annotations() {
  static const std::set<std::string> all = {
      "title",         "description",      "default",         "examples",  "example", "$comment",
      "$schema",       "deprecated",       "readOnly",        "writeOnly", "$defs",   "definitions",
      "discriminator", "contentMediaType", "contentEncoding", "$id"};
  return all;
}

// Keyword: the type of the values that it speaks of; empty: of all.
const std::map<std::string, std::string>& keywords() {
  static const std::map<std::string, std::string> all = {{"type", ""},
                                                         {"enum", ""},
                                                         {"const", ""},
                                                         {"anyOf", ""},
                                                         {"oneOf", ""},
                                                         {"allOf", ""},
                                                         {"$ref", ""},
                                                         {"minLength", "string"},
                                                         {"maxLength", "string"},
                                                         {"pattern", "string"},
                                                         {"format", "string"},
                                                         {"minimum", "number"},
                                                         {"maximum", "number"},
                                                         {"exclusiveMinimum", "number"},
                                                         {"exclusiveMaximum", "number"},
                                                         {"multipleOf", "number"},
                                                         {"items", "array"},
                                                         {"prefixItems", "array"},
                                                         {"minItems", "array"},
                                                         {"maxItems", "array"},
                                                         {"uniqueItems", "array"},
                                                         {"unevaluatedItems", "array"},
                                                         {"properties", "object"},
                                                         {"required", "object"},
                                                         {"additionalProperties", "object"},
                                                         {"patternProperties", "object"},
                                                         {"propertyNames", "object"},
                                                         {"minProperties", "object"},
                                                         {"maxProperties", "object"},
                                                         {"unevaluatedProperties", "object"}};
  return all;
}

const std::set<std::string>& type_names() {
  static const std::set<std::string> all = {"null",   "boolean", "object", "array",
                                            "number", "string",  "integer"};
  return all;
}

// --- oneOf ---------------------------------------------------------------------------------------

const Json* resolved(const Json& schema, const Json& root) {
  const Json* at = &schema;
  // A chain longer than this goes in a circle.
  for (int32_t i = 0; i < 32 && at != nullptr && at->is_object() && at->contains("$ref"); ++i)
    at = (*at)["$ref"].is_string() ? find_pointer(root, (*at)["$ref"].get<std::string>()) : nullptr;
  return at;
}

std::optional<std::vector<Json>> constants_of(const Json& schema) {
  if (schema.contains("const")) return std::vector<Json>{schema["const"]};
  if (!schema.contains("enum") || !schema["enum"].is_array()) return std::nullopt;
  return std::vector<Json>(schema["enum"].begin(), schema["enum"].end());
}

bool may_be_of_type(const std::string& a, const std::string& b) {
  const bool numbers = (a == "integer" || a == "number") && (b == "integer" || b == "number");
  return a == b || numbers;
}

bool apart(const Json& first, const Json& second, const Json& root, int32_t depth);

// A property that both require and in which they are apart.
bool apart_by_property(const Json& a, const Json& b, const Json& root, int32_t depth) {
  for (const Json* one : {&a, &b})
    if (!one->contains("properties") || !(*one)["properties"].is_object() ||
        !one->contains("required") || !(*one)["required"].is_array())
      return false;
  const auto requires_name = [](const Json& schema, const std::string& name) {
    const Json& all = schema["required"];
    return std::find(all.begin(), all.end(), Json(name)) != all.end();
  };
  for (const auto& [name, property] : a["properties"].items()) {
    const auto other = b["properties"].find(name);
    if (other == b["properties"].end() || !requires_name(a, name) || !requires_name(b, name))
      continue;
    if (apart(property, *other, root, depth + 1)) return true;
  }
  return false;
}

bool apart(const Json& first, const Json& second, const Json& root, int32_t depth) {
  const Json* a = resolved(first, root);
  const Json* b = resolved(second, root);
  if (depth > 4 || a == nullptr || b == nullptr || !a->is_object() || !b->is_object()) return false;
  const auto values_a = constants_of(*a), values_b = constants_of(*b);
  if (values_a && values_b) {
    for (const Json& one : *values_a)
      for (const Json& other : *values_b)
        if (one == other) return false;
    return true;
  }
  const auto types_a = types_of(*a, ""), types_b = types_of(*b, "");
  // Types that keywords only imply leave values of other types in.
  const auto bound = [](const Json& schema, const std::optional<std::vector<Json>>& values) {
    return values || schema.contains("type");
  };
  if (!types_a.ok() || !types_b.ok() || !bound(*a, values_a) || !bound(*b, values_b)) return false;
  const auto may_be = [](const Json& value, const std::vector<std::string>& types) {
    return std::any_of(types.begin(), types.end(),
                       [&](const std::string& type) { return is_of_type(value, type); });
  };
  if (values_a || values_b) {
    const auto& values = values_a ? *values_a : *values_b;
    const auto& types = values_a ? types_b.value() : types_a.value();
    return std::none_of(values.begin(), values.end(),
                        [&](const Json& value) { return may_be(value, types); });
  }
  bool types_meet = false;
  for (const std::string& one : types_a.value())
    for (const std::string& other : types_b.value())
      types_meet = types_meet || may_be_of_type(one, other);
  if (!types_meet) return true;
  const bool objects = types_a.value() == std::vector<std::string>{"object"} &&
                       types_b.value() == std::vector<std::string>{"object"};
  return objects && apart_by_property(*a, *b, root, depth);
}

// --- Values that end -----------------------------------------------------------------------------

using Ending = std::set<std::string>;  // references whose target has a value that ends

bool ends(const Json& schema, const Ending& ending) {
  if (!schema.is_object()) return schema != false;
  // Parts that nothing has read yet may be anything.
  if (schema.contains("$ref"))
    return schema["$ref"].is_string() && ending.contains(schema["$ref"].get<std::string>());
  if (schema.contains("const") || schema.contains("enum")) return true;
  for (const char* keyword : {"anyOf", "oneOf", "allOf"})
    if (schema.contains(keyword))
      return std::any_of(schema[keyword].begin(), schema[keyword].end(),
                         [&](const Json& one) { return ends(one, ending); });
  const auto types = types_of(schema, "");
  const std::vector<std::string> all = types.ok() ? types.value() : std::vector<std::string>();
  const auto other_than = [&](const char* type) {
    return all.empty() ||
           std::any_of(all.begin(), all.end(), [&](const std::string& one) { return one != type; });
  };
  bool object_ends = true, array_ends = true;
  if (schema.contains("required"))
    for (const Json& name : schema["required"]) {
      if (!name.is_string()) continue;
      const bool declared = schema.contains("properties") && schema["properties"].contains(name);
      const bool rest = schema.contains("additionalProperties");
      if (declared)
        object_ends = object_ends && ends(schema["properties"][name.get<std::string>()], ending);
      else if (rest)
        object_ends = object_ends && ends(schema["additionalProperties"], ending);
    }
  if (schema.contains("prefixItems"))
    for (const Json& one : schema["prefixItems"]) array_ends = array_ends && ends(one, ending);
  if (schema.contains("minItems") && schema["minItems"] > 0 && schema.contains("items"))
    array_ends = array_ends && ends(schema["items"], ending);
  const bool is_array = std::find(all.begin(), all.end(), "array") != all.end();
  const bool is_object = std::find(all.begin(), all.end(), "object") != all.end();
  if ((is_object && object_ends) || (is_array && array_ends)) return true;
  if (is_object && is_array) return all.size() > 2;
  return other_than(is_object ? "object" : is_array ? "array" : "");
}

}  // namespace

Error refused(const std::string& at, const std::string& keyword, const std::string& why) {
  const std::string pointer = keyword.empty() ? at : pointer_to(at, keyword);
  return invalid_argument("schema at \"" + pointer + "\": " + why);
}

Result<void> check_keywords(const Json& schema, const std::string& at) {
  for (const auto& [name, given] : schema.items()) {
    if (name == "$id" && !at.empty()) return refused(at, name, "is supported at the top only");
    if (annotations().contains(name) || name.rfind("x-", 0) == 0) continue;
    if (!keywords().contains(name)) return refused(at, name, "the keyword is not supported");
    const bool harmless = (name == "uniqueItems" && given == false) ||
                          (name == "unevaluatedProperties" && given.is_boolean()) ||
                          (name == "unevaluatedItems" && given == true);
    const bool only_harmless = name == "uniqueItems" || name.rfind("unevaluated", 0) == 0;
    if (only_harmless && !harmless)
      return refused(at, name, given.dump().substr(0, 40) + " is not supported");
    if (name == "unevaluatedProperties" && given == false &&
        (!schema.contains("properties") || schema.contains("additionalProperties")))
      return refused(at, name, "is supported beside properties alone");
  }
  return {};
}

Result<void> check_alone(const Json& schema, const std::string& at, const char* keyword,
                         const std::set<std::string>& also) {
  for (const auto& [name, given] : schema.items())
    if (name != keyword && !also.contains(name) && keywords().contains(name))
      return refused(at, name, std::string("beside ") + keyword + " is not supported");
  return {};
}

Result<void> check_apart(const Json& options, const Json& root, const std::string& at) {
  // Each is compared with each.
  size_t num_values = options.size();
  for (const Json& one : options)
    if (one.is_object() && one.contains("enum")) num_values += one["enum"].size();
  if (options.size() > kApartOptionsMax || num_values > kApartValuesMax)
    return refused(at, "",
                   "expected at most " + std::to_string(kApartOptionsMax) +
                       " options, of at most " + std::to_string(kApartValuesMax) +
                       " values; anyOf has no such bound");
  for (size_t i = 0; i < options.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (!apart(options[j], options[i], root, 0))
        return refused(at, "",
                       "a value may be in both " + std::to_string(j) + " and " + std::to_string(i) +
                           ": expected options that differ by type, by constants or by a "
                           "required property's constants; anyOf has no such need");
  return {};
}

Result<std::vector<std::string>> types_of(const Json& schema, const std::string& at) {
  std::vector<std::string> types;
  if (schema.contains("type")) {
    const Json& given = schema["type"];
    const Json all = given.is_array() ? given : Json::array({given});
    if (all.empty()) return refused(at, "type", "expected at least one type");
    for (const Json& one : all) {
      if (!one.is_string() || !type_names().contains(one.get<std::string>()))
        return refused(at, "type", one.dump().substr(0, 40) + " is no type");
      if (std::find(types.begin(), types.end(), one.get<std::string>()) == types.end())
        types.push_back(one.get<std::string>());
    }
    return types;
  }
  for (const auto& [name, given] : schema.items()) {
    const auto known = keywords().find(name);
    if (known == keywords().end() || known->second.empty()) continue;
    if (std::find(types.begin(), types.end(), known->second) == types.end())
      types.push_back(known->second);
  }
  return types;
}

bool is_of_type(const Json& value, const std::string& type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  if (type == "number") return value.is_number();
  if (!value.is_number()) return false;
  const auto number = value.get<double>();
  return number == static_cast<double>(static_cast<int64_t>(std::clamp(number, -9e18, 9e18)));
}

std::vector<std::string> endless(const Json& root, const std::vector<std::string>& references) {
  Ending ending;
  for (bool grown = true; grown;) {
    grown = false;
    for (const std::string& reference : references)
      if (!ending.contains(reference) && ends(*find_pointer(root, reference), ending))
        grown = ending.insert(reference).second;
  }
  std::vector<std::string> rest;
  for (const std::string& reference : references)
    if (!ending.contains(reference)) rest.push_back(reference);
  return rest;
}

}  // namespace mimo::grammar
