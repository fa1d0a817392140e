#include "coordinator/chat/json_text.h"

#include <algorithm>
#include <utility>

namespace mimo::chat {
namespace {

// How deep objects and arrays lie in one another, as far as the text is JSON: copies and
// destruction of a parsed value recurse, so this is known before there is one.
int32_t nesting(std::string_view text) {
  int32_t depth = 0;
  int32_t deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

Result<nlohmann::ordered_json> parse_object(const std::string& text, const std::string& field) {
  if (const int32_t depth = nesting(text); depth > kJsonDepthMax)
    return invalid_argument(field + " is nested " + std::to_string(depth) +
                            " deep: expected at most " + std::to_string(kJsonDepthMax));
  auto value = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object())
    return invalid_argument(field + " is " + shown(text) + ": expected a JSON object");
  return value;
}

std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string shown(std::string_view text) {
  constexpr size_t kBytesMax = 80;
  if (text.size() <= kBytesMax) return json_string(text);
  size_t end = kBytesMax;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
  return json_string(text.substr(0, end)) + "...";
}

}  // namespace mimo::chat
