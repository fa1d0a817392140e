#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace mimo::grammar {

// Keeps the order of properties. For .cc files: it brings the whole JSON library.
using Json = nlohmann::ordered_json;

// kInvalidArgument when it is not JSON, is deeper than `depth_max`, or says a name twice in one
// object.
Result<Json> parse_json(std::string_view text, int32_t depth_max);

// `pointer` with one more step, escaped as RFC 6901 says.
std::string pointer_to(const std::string& pointer, std::string_view step);

// What a pointer ("#", "#/$defs/a%20b") names inside `root`; null when nothing.
const Json* find_pointer(const Json& root, const std::string& reference);

}  // namespace mimo::grammar
