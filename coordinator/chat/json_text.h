#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace mimo::chat {

// Objects and arrays inside one another, in any JSON that a request brings.
inline constexpr int32_t kJsonDepthMax = 64;
// Names of one object: looking for one is linear in them.
inline constexpr int64_t kJsonMembersMax = 1024;

// `text` as a JSON object, its order kept. kInvalidArgument names `field` and what is wrong.
Result<nlohmann::ordered_json> parse_object(const std::string& text, const std::string& field);

// A text as a JSON string, quotes included; what is no UTF-8 becomes U+FFFD.
std::string json_string(std::string_view text);

// A value in a message: short ones as they are, others cut.
std::string shown(std::string_view text);

}  // namespace mimo::chat
