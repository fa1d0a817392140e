#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mimo::checkpoint {

// One object of a config file, taken field by field. The first refusal is kept and later calls
// answer with something harmless; finish() gives it back, or names a field that nobody took. "In
// bounds" is inclusive. Internal to checkpoint/.
//
// Lifetime:  the object outlives this.
class ConfigFields {
 public:
  // `path` goes before field names in messages: "" or "quantization_config.".
  ConfigFields(const nlohmann::json& object, std::string source, std::string path);

  bool failed() const { return !reason_.empty(); }
  // Null when absent or null; the field counts as taken.
  const nlohmann::json* take(const char* name);

  int32_t integer(const char* name, int32_t min, int32_t max);  // must be there
  int32_t integer_or(const char* name, int32_t otherwise, int32_t min, int32_t max);
  double number(const char* name, double min, double max);  // must be there
  double number_or(const char* name, double otherwise, double min, double max);
  bool flag_or(const char* name, bool otherwise);
  // `size` zeros and ones; must be there.
  std::vector<bool> bits(const char* name, int32_t size);
  // An id, a list of ids, or null.
  std::vector<int32_t> ids(const char* name, int32_t vocab);

  // What has one value that this program computes: absent, null, or that value.
  void only_null(const char* name);
  void only(const char* name, const nlohmann::json& value);
  // As only(), and it must be there.
  void must_be(const char* name, const nlohmann::json& value);
  // What says nothing about the model: any value of the type.
  void any_string(const char* name);
  void any_strings(const char* name);  // a list, or an object, of strings
  void any_number(const char* name);
  void any_flag(const char* name);
  void any_integer(const char* name);

  // "<source>: <field>: <what>".
  void refuse(const std::string& field, const std::string& what);
  Result<void> finish();

 private:
  const nlohmann::json* require(const char* name);
  void refuse_value(const char* name, const nlohmann::json& value, const std::string& expected);

  const nlohmann::json& object_;
  std::string source_;
  std::string path_;
  std::set<std::string, std::less<>> taken_;
  std::string reason_;
};

}  // namespace mimo::checkpoint
