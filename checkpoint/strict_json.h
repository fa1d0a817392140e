#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace mimo::checkpoint {

struct JsonLimits {
  int32_t depth_max = 8;           // objects and arrays inside one another
  int64_t values_max = 4'000'000;  // bounds memory, which is many times the text's size
};

// A JSON text from outside. Refused with kInvalidArgument: what is not JSON, a key said twice in
// one object, an object at the top that is none, and what is over the limits. Only checkpoint/'s
// own .cc files include this header: it is slow to compile.
Result<nlohmann::json> parse_strict_json(std::string_view text, const JsonLimits& limits,
                                         const std::string& source);

// A text from outside as it goes into a message: quoted, unprintable bytes as \xNN, cut at 100.
std::string cite(std::string_view text);
inline std::string cite(const std::string& text) { return cite(std::string_view(text)); }
// A value as it goes into a message, cut likewise.
std::string cite(const nlohmann::json& value);

}  // namespace mimo::checkpoint
