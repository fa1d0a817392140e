#include "coordinator/http/request_fields.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "coordinator/text/json_extent.h"

namespace mimo::http {
namespace {

// Bounded before it is parsed: what walks over JSON calls itself once a level, and what looks for a
// name compares it with all of an object's.
constexpr int32_t kNestingMax = 64;
constexpr int64_t kMembersMax = 1024;
constexpr size_t kShownBytes = 80;

std::string shown(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list of " + std::to_string(value.size());
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  if (text.size() <= kShownBytes) return text;
  return text.substr(0, kShownBytes) + "...";
}

std::optional<int64_t> whole_of(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  if (std::floor(number) != number || std::abs(number) > 9e15) return std::nullopt;
  return static_cast<int64_t>(number);
}

}  // namespace

std::optional<ApiError> parse_body(const std::string& body, Json* json) {
  if (body.empty()) return bad_request("", "the body is empty: expected a JSON object");
  const text::JsonExtent extent = text::json_extent(body, kNestingMax);
  if (extent.depth > kNestingMax)
    return bad_request("", "the body nests more than " + std::to_string(kNestingMax) + " levels");
  if (extent.members > kMembersMax)
    return bad_request("", "the body has an object with " + std::to_string(extent.members) +
                               " names: expected at most " + std::to_string(kMembersMax));
  try {
    *json = Json::parse(body);
  } catch (const Json::exception& refused) {
    const std::string why = refused.what();
    return bad_request("", "the body is no JSON: " + why.substr(0, 300));
  }
  if (!json->is_object())
    return bad_request("", "the body is " + shown(*json) + ": expected a JSON object");
  return std::nullopt;
}

const Json* Fields::find(const char* name) {
  known_.emplace_back(name);
  const auto found = object_.find(name);
  if (found == object_.end() || found->is_null()) return nullptr;
  return &*found;
}

void Fields::refuse(const std::string& name, const Json& value, const std::string& expected) {
  if (error_) return;
  const std::string param = where_ + name;
  error_ = bad_request(param, param + " = " + shown(value) + ": expected " + expected);
}

std::optional<std::string> Fields::text(const char* name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  refuse(name, *value, "a string");
  return std::nullopt;
}

std::optional<bool> Fields::flag(const char* name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  refuse(name, *value, "true or false");
  return std::nullopt;
}

std::optional<double> Fields::number(const char* name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) return value->get<double>();
  refuse(name, *value, "a number");
  return std::nullopt;
}

std::optional<int64_t> Fields::whole(const char* name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (const auto number = whole_of(*value)) return number;
  refuse(name, *value, "a whole number");
  return std::nullopt;
}

std::optional<int32_t> Fields::count(const char* name) {
  const auto number = whole(name);
  if (!number) return std::nullopt;
  if (*number >= INT32_MIN && *number <= INT32_MAX) return static_cast<int32_t>(*number);
  refuse(name, Json(*number), "a whole number of 32 bits");
  return std::nullopt;
}

const Json* Fields::list(const char* name) {
  const Json* value = find(name);
  if (value == nullptr || value->is_array()) return value;
  refuse(name, *value, "a list");
  return nullptr;
}

const Json* Fields::object(const char* name) {
  const Json* value = find(name);
  if (value == nullptr || value->is_object()) return value;
  refuse(name, *value, "an object");
  return nullptr;
}

void Fields::not_done(const char* name, const Json& harmless, const char* why) {
  const Json* value = find(name);
  if (value == nullptr || *value == harmless) return;
  if (error_) return;
  const std::string param = where_ + name;
  error_ = bad_request(param, param + " = " + shown(*value) + ": " + why);
  error_->code = "unsupported_parameter";
}

std::vector<std::string> Fields::ignored() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_.items())
    if (std::find(known_.begin(), known_.end(), name) == known_.end()) names.push_back(name);
  return names;
}

}  // namespace mimo::http
