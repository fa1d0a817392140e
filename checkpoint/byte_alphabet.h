#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mimo::checkpoint {

// Byte-level vocabularies are written in an alphabet of 256 visible characters, one a byte: the
// printable bytes of Latin-1 stand for themselves, the others for U+0100 and up, in order.

// The bytes that `spelled` (well-formed UTF-8) stands for; nothing when a character of it is not in
// the alphabet.
std::optional<std::string> bytes_of_spelling(std::string_view spelled);

// Appends how `bytes` are written.
void append_spelling(std::string_view bytes, std::string* out);

}  // namespace mimo::checkpoint
