#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/http/api_error.h"

namespace mimo::http {

// The order of a schema's properties is what the model is shown.
using Json = nlohmann::ordered_json;

// The body as an object, or why not: no JSON, no object, nested past 64.
std::optional<ApiError> parse_body(const std::string& body, Json* json);

// The fields of one JSON object, each of the type that it is asked for. Absent and null are the
// same: not said. The first field that is wrong refuses the request; what is read after it does not
// matter.
//
// Thread:    one.
// Lifetime:  the object and the error outlive this.
class Fields final {
 public:
  // `where` comes before each name in messages: "messages[0]."
  Fields(const Json& object, std::string where, std::optional<ApiError>* error)
      : object_(object), where_(std::move(where)), error_(*error) {}

  const Json* find(const char* name);
  std::optional<std::string> text(const char* name);
  std::optional<bool> flag(const char* name);
  std::optional<double> number(const char* name);
  std::optional<int64_t> whole(const char* name);
  // Within 32 bits.
  std::optional<int32_t> count(const char* name);
  const Json* list(const char* name);
  const Json* object(const char* name);

  // "name = value: expected ...".
  void refuse(const std::string& name, const Json& value, const std::string& expected);
  // A field that this server does not do, when it says anything but `harmless`.
  void not_done(const char* name, const Json& harmless, const char* why);
  // The names that nobody has asked for.
  std::vector<std::string> ignored() const;
  bool ok() const { return !error_.has_value(); }
  const std::string& where() const { return where_; }
  std::optional<ApiError>* error() { return &error_; }

 private:
  const Json& object_;
  std::string where_;
  std::optional<ApiError>& error_;
  std::vector<std::string> known_;
};

}  // namespace mimo::http
