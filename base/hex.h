#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace mimo {

// Two lower-case digits a byte.
std::string to_hex(std::span<const uint8_t> bytes);
std::string to_hex(std::string_view bytes);

// The bytes that to_hex() made `text` of; nothing for any other text.
std::optional<std::string> from_hex(std::string_view text);

}  // namespace mimo
