#include "checkpoint/json_fields.h"

namespace mimo::checkpoint {
namespace {

constexpr size_t kBriefMax = 80;

const nlohmann::json& null_value() {
  static const nlohmann::json kNull;
  return kNull;
}

}  // namespace

std::string brief(const nlohmann::json& value) {
  if (value.is_structured() && !value.empty()) return std::string("an ") + value.type_name();
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  if (text.size() > kBriefMax) text = text.substr(0, kBriefMax) + "...";
  return text;
}

JsonFields::JsonFields(const nlohmann::json& object, std::string path)
    : object_(object), path_(std::move(path)) {
  if (!object_.is_object())
    fail((path_.empty() ? "the file" : path_) + " is " + brief(object_) + ": expected an object");
}

std::string JsonFields::name_of(const std::string& name) const {
  return path_.empty() ? name : path_ + "." + name;
}

void JsonFields::fail(std::string message) {
  if (failure_.empty()) failure_ = std::move(message);
}

const nlohmann::json& JsonFields::optional(const std::string& name) {
  asked_.insert(name);
  if (!object_.is_object()) return null_value();
  const auto found = object_.find(name);
  return found == object_.end() ? null_value() : *found;
}

const nlohmann::json& JsonFields::required(const std::string& name) {
  const nlohmann::json& value = optional(name);
  if (object_.is_object() && !object_.contains(name)) fail(name_of(name) + " is missing");
  return value;
}

bool JsonFields::boolean(const std::string& name) {
  const nlohmann::json& value = required(name);
  if (!value.is_boolean()) refuse(name, "true or false");
  return value.is_boolean() && value.get<bool>();
}

std::string JsonFields::text(const std::string& name) {
  const nlohmann::json& value = required(name);
  if (!value.is_string()) refuse(name, "a string");
  return value.is_string() ? value.get<std::string>() : std::string();
}

void JsonFields::must_be(const std::string& name, const nlohmann::json& value) {
  if (required(name) != value) refuse(name, value.dump());
}

void JsonFields::null_or(const std::string& name, const nlohmann::json& value) {
  const nlohmann::json& found = optional(name);
  if (!found.is_null() && found != value) refuse(name, "null or " + value.dump());
}

void JsonFields::refuse(const std::string& name, const std::string& expected) {
  fail(name_of(name) + " is " + brief(optional(name)) + ": expected " + expected);
}

Result<void> JsonFields::done() {
  if (object_.is_object()) {
    for (const auto& [name, value] : object_.items()) {
      if (!asked_.contains(name))
        fail(name_of(name) + " is " + brief(value) + ": no such field is known");
    }
  }
  if (!failure_.empty()) return invalid_argument(failure_);
  return {};
}

}  // namespace mimo::checkpoint
