#include "coordinator/chat/json_text.h"

#include <utility>

#include "coordinator/text/json_extent.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {

Result<nlohmann::ordered_json> parse_object(const std::string& text, const std::string& field) {
  const text::JsonExtent extent = text::json_extent(text, kJsonDepthMax);
  if (extent.depth > kJsonDepthMax)
    return invalid_argument(field + " is nested more than " + std::to_string(kJsonDepthMax) +
                            " deep");
  if (extent.members > kJsonMembersMax)
    return invalid_argument(field + " has an object with " + std::to_string(extent.members) +
                            " names: expected at most " + std::to_string(kJsonMembersMax));
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
  return json_string(text::utf8_prefix(text, kBytesMax)) + "...";
}

}  // namespace mimo::chat
