#include "checkpoint/config_fields.h"

#include <cmath>
#include <sstream>
#include <utility>

#include "checkpoint/strict_json.h"

namespace mimo::checkpoint {
namespace {

using Json = nlohmann::json;

std::string shown(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

std::string bounds(int32_t min, int32_t max) {
  return "an integer from " + std::to_string(min) + " to " + std::to_string(max);
}

bool integer_within(const Json& value, int32_t min, int32_t max) {
  if (value.is_number_unsigned()) {
    const uint64_t number = value.get<uint64_t>();
    return number <= static_cast<uint64_t>(INT32_MAX) && static_cast<int64_t>(number) >= min &&
           static_cast<int64_t>(number) <= max;
  }
  if (!value.is_number_integer()) return false;
  const int64_t number = value.get<int64_t>();
  return number >= min && number <= max;
}

bool all_strings(const Json& value) {
  if (!value.is_array() && !value.is_object()) return false;
  for (const Json& element : value) {
    if (!element.is_string()) return false;
  }
  return true;
}

}  // namespace

ConfigFields::ConfigFields(const Json& object, std::string source, std::string path)
    : object_(object), source_(std::move(source)), path_(std::move(path)) {}

const Json* ConfigFields::take(const char* name) {
  taken_.insert(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const Json* ConfigFields::require(const char* name) {
  const Json* value = take(name);
  if (value == nullptr) refuse(name, "missing");
  return value;
}

void ConfigFields::refuse(const std::string& field, const std::string& what) {
  if (!failed()) reason_ = source_ + ": " + path_ + field + ": " + what;
}

void ConfigFields::refuse_value(const char* name, const Json& value, const std::string& expected) {
  refuse(name, "found " + cite(value) + ", expected " + expected);
}

int32_t ConfigFields::integer(const char* name, int32_t min, int32_t max) {
  return require(name) == nullptr ? min : integer_or(name, min, min, max);
}

int32_t ConfigFields::integer_or(const char* name, int32_t otherwise, int32_t min, int32_t max) {
  const Json* value = take(name);
  if (value == nullptr) return otherwise;
  if (integer_within(*value, min, max)) return value->get<int32_t>();
  refuse_value(name, *value, bounds(min, max));
  return min;
}

double ConfigFields::number(const char* name, double min, double max) {
  return require(name) == nullptr ? min : number_or(name, min, min, max);
}

double ConfigFields::number_or(const char* name, double otherwise, double min, double max) {
  const Json* value = take(name);
  if (value == nullptr) return otherwise;
  if (value->is_number()) {
    const double number = value->get<double>();
    if (std::isfinite(number) && number >= min && number <= max) return number;
  }
  refuse_value(name, *value, "a number from " + shown(min) + " to " + shown(max));
  return min;
}

bool ConfigFields::flag_or(const char* name, bool otherwise) {
  const Json* value = take(name);
  if (value == nullptr) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  refuse_value(name, *value, "true or false");
  return otherwise;
}

std::vector<bool> ConfigFields::bits(const char* name, int32_t size) {
  std::vector<bool> out;
  const Json* value = require(name);
  if (value == nullptr) return out;
  if (!value->is_array() || value->size() != static_cast<size_t>(size)) {
    const std::string found =
        value->is_array() ? std::to_string(value->size()) + " values" : "found " + cite(*value);
    refuse(name, found + ", expected a list of " + std::to_string(size) +
                     " (num_hidden_layers) zeros and ones");
    return out;
  }
  for (const Json& bit : *value) {
    if (!integer_within(bit, 0, 1)) refuse_value(name, bit, "0 or 1 in each place");
    out.push_back(bit == 1);
  }
  return out;
}

std::vector<int32_t> ConfigFields::ids(const char* name, int32_t vocab) {
  std::vector<int32_t> out;
  const Json* value = take(name);
  if (value == nullptr) return out;
  const Json list = value->is_array() ? *value : Json::array({*value});
  constexpr size_t kIdsMax = 64;
  if (list.size() > kIdsMax) {
    refuse(name, std::to_string(list.size()) + " ids, expected at most " + std::to_string(kIdsMax));
    return out;
  }
  for (const Json& id : list) {
    if (!integer_within(id, 0, vocab - 1)) {
      refuse_value(name, id, "a token id from 0 to " + std::to_string(vocab - 1));
      return {};
    }
    out.push_back(id.get<int32_t>());
  }
  return out;
}

void ConfigFields::only_null(const char* name) {
  const Json* value = take(name);
  if (value != nullptr) refuse_value(name, *value, "null");
}

void ConfigFields::only(const char* name, const Json& expected) {
  const Json* value = take(name);
  if (value != nullptr && *value != expected) {
    refuse_value(name, *value, cite(expected) + ", the only one that is computed");
  }
}

void ConfigFields::must_be(const char* name, const Json& expected) {
  if (require(name) != nullptr) only(name, expected);
}

void ConfigFields::any_string(const char* name) {
  const Json* value = take(name);
  if (value != nullptr && !value->is_string()) refuse_value(name, *value, "a string");
}

void ConfigFields::any_strings(const char* name) {
  const Json* value = take(name);
  if (value != nullptr && !all_strings(*value)) refuse_value(name, *value, "strings");
}

void ConfigFields::any_number(const char* name) {
  const Json* value = take(name);
  if (value != nullptr && !value->is_number()) refuse_value(name, *value, "a number");
}

void ConfigFields::any_flag(const char* name) { flag_or(name, false); }

void ConfigFields::any_integer(const char* name) {
  const Json* value = take(name);
  if (value != nullptr && !value->is_number_integer()) refuse_value(name, *value, "an integer");
}

Result<void> ConfigFields::finish() {
  for (const auto& [name, value] : object_.items()) {
    if (taken_.contains(name)) continue;
    refuse(cite(name), "found " + cite(value) + ", a field that this program does not know");
  }
  if (failed()) return invalid_argument(reason_);
  return {};
}

}  // namespace mimo::checkpoint
