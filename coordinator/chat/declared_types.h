#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mimo::chat {

// JSON's types as bits of a set.
inline constexpr uint32_t kNullType = 1;
inline constexpr uint32_t kBooleanType = 2;
inline constexpr uint32_t kIntegerType = 4;
inline constexpr uint32_t kNumberType = 8;
inline constexpr uint32_t kStringType = 16;
inline constexpr uint32_t kArrayType = 32;
inline constexpr uint32_t kObjectType = 64;

// The types that a schema allows: its `type`, else those of `enum` and `const`, else those of
// `anyOf`, `oneOf`, `allOf`, or of what its `$ref` names in `root`. Empty: it does not say.
uint32_t declared_types(const nlohmann::ordered_json& schema, const nlohmann::ordered_json& root);

// What `schema` stands for: itself, or what its `$ref` (a pointer into `root`) leads to; null where
// that leads nowhere.
const nlohmann::ordered_json* referred(const nlohmann::ordered_json& schema,
                                       const nlohmann::ordered_json& root);

// The section ("$defs", "definitions") and the name in it that a reference leads to or into;
// nothing for one that leads elsewhere.
std::optional<std::pair<std::string, std::string>> definition_of(std::string_view ref);

}  // namespace mimo::chat
