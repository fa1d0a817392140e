#include "grammar/utf8.h"

#include <cstdint>

namespace mimo::grammar {

std::optional<std::u32string> from_utf8(std::string_view bytes) {
  std::u32string text;
  text.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const auto first = static_cast<uint8_t>(bytes[at++]);
    if (first < 0x80) {
      text.push_back(first);
      continue;
    }
    const int32_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || bytes.size() - at < static_cast<size_t>(more))
      return std::nullopt;
    char32_t c = first & (0x3f >> more);
    for (int32_t i = 0; i < more; ++i) {
      const auto next = static_cast<uint8_t>(bytes[at++]);
      if ((next & 0xc0) != 0x80) return std::nullopt;
      c = c << 6 | (next & 0x3f);
    }
    const bool too_long = (more == 2 && c < 0x800) || (more == 3 && c < 0x10000);
    if (too_long || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return std::nullopt;
    text.push_back(c);
  }
  return text;
}

}  // namespace mimo::grammar
