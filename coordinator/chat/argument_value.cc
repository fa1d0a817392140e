#include "coordinator/chat/argument_value.h"

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "coordinator/chat/declared_types.h"
#include "coordinator/chat/json_text.h"
#include "coordinator/chat/markup.h"
#include "coordinator/chat/python_literal.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

using Json = nlohmann::ordered_json;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

bool equals_ignoring_case(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] + 32) : text[i];
    if (c != lower[i]) return false;
  }
  return true;
}

// Decimal notation as JSON and its neighbours write it: 5, -5, +5, 007, .5, 5., 1e3. The text as it
// is where JSON allows it, so that no digit is lost.
std::optional<std::string> number_json(std::string_view text) {
  if (text.empty() || text.find_first_not_of("+-.0123456789eE") != std::string_view::npos)
    return std::nullopt;
  if (Json::accept(text)) return std::string(text);
  if (text[0] == '+') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    return std::nullopt;
  return Json(value).dump();
}

std::optional<std::string> integer_json(std::string_view text) {
  std::string_view digits = text;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  if (!digits.empty() && digits.find_first_not_of("0123456789") == std::string_view::npos) {
    const size_t first = digits.find_first_not_of('0');
    if (first == std::string_view::npos) return "0";
    return (negative ? "-" : "") + std::string(digits.substr(first));
  }
  // 5.0 and 1e3 are integers too.
  const auto number = number_json(text);
  if (!number) return std::nullopt;
  const double value = Json::parse(*number, nullptr, /*allow_exceptions=*/false).get<double>();
  constexpr double kExactMax = 9007199254740992.0;  // 2^53
  if (std::abs(value) > kExactMax || value != std::floor(value)) return std::nullopt;
  return std::to_string(static_cast<int64_t>(value));
}

std::optional<std::string> structure_json(std::string_view text, uint32_t types) {
  const auto fits = [&](std::string_view json) {
    const uint32_t type = json.starts_with('[')   ? kArrayType
                          : json.starts_with('{') ? kObjectType
                                                  : 0;
    return (types & type) != 0;
  };
  const auto has_brackets = [&](std::string_view open) {
    return !text.empty() && open.find(text[0]) != std::string_view::npos;
  };
  if (!has_brackets("[{(")) return std::nullopt;
  if (fits(text) && Json::accept(text)) return std::string(text);
  auto literal = python_literal_json(text);
  if (literal && fits(*literal)) return literal;
  return std::nullopt;
}

// Nothing when the text is none of the types; strings aside, which every text is.
std::optional<std::string> typed_json(std::string_view text, uint32_t types) {
  const bool may_be_null = (types & kNullType) != 0 || (types & kStringType) == 0;
  if (may_be_null && (equals_ignoring_case(text, "null") || text == "None")) return "null";
  if ((types & kIntegerType) != 0)
    if (auto json = integer_json(text)) return json;
  if ((types & kNumberType) != 0)
    if (auto json = number_json(text)) return json;
  if ((types & kBooleanType) != 0) {
    if (equals_ignoring_case(text, "true")) return "true";
    if (equals_ignoring_case(text, "false")) return "false";
  }
  return structure_json(text, types);
}

// The character that `entity`, what stands between & and ;, is the name of.
std::optional<char32_t> referred_character(std::string_view entity) {
  static constexpr std::array<std::pair<std::string_view, char>, 5> kNames = {
      {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}}};
  for (const auto& [name, character] : kNames)
    if (entity == name) return character;
  if (!entity.starts_with('#')) return std::nullopt;
  entity.remove_prefix(1);
  const bool is_hex = entity.starts_with('x') || entity.starts_with('X');
  if (is_hex) entity.remove_prefix(1);
  uint32_t code = 0;
  const auto [end, error] =
      std::from_chars(entity.data(), entity.data() + entity.size(), code, is_hex ? 16 : 10);
  const bool is_character = code > 0 && code < 0x110000 && (code < 0xd800 || code > 0xdfff);
  if (error != std::errc() || end != entity.data() + entity.size() || !is_character)
    return std::nullopt;
  return code;
}

}  // namespace

std::string unescape_markup(std::string_view text) {
  constexpr size_t kEntityMax = 10;  // #x0010FFFF
  std::string made;
  made.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t next = std::min(text.find('&', at), text.size());
    made.append(text.substr(at, next - at));
    at = next;
    if (at == text.size()) break;
    const size_t end = text.substr(at, kEntityMax + 2).find(';');
    std::optional<char32_t> character;
    if (end != std::string_view::npos) character = referred_character(text.substr(at + 1, end - 1));
    if (character) {
      text::append_utf8(*character, &made);
      at += end + 1;
    } else {
      made += text[at++];
    }
  }
  return made;
}

std::string argument_json(std::string_view text, uint32_t types) {
  if (types == 0 || types == kStringType) return json_string(unescape_markup(text));
  if (auto json = typed_json(trimmed(text), types)) return *json;
  const std::string unescaped = unescape_markup(text);
  if (unescaped != text)
    if (auto json = typed_json(trimmed(unescaped), types)) return *json;
  return json_string(unescaped);
}

std::string arguments_json(const ToolSpec& tool,
                           const std::vector<std::pair<std::string, std::string>>& parameters) {
  std::vector<std::pair<std::string, std::string>> values;  // key, JSON text
  for (const auto& [key, text] : parameters) {
    const Json* schema = tool.parameter(key);
    const uint32_t types = schema == nullptr ? 0 : declared_types(*schema, tool.parameters);
    auto value = argument_json(text, types);
    bool is_new = true;
    for (auto& [known, json] : values) {
      if (known != key) continue;
      json = std::move(value);
      is_new = false;
      break;
    }
    if (is_new) values.emplace_back(key, std::move(value));
  }
  std::string made = "{";
  for (const auto& [key, json] : values) {
    if (made.size() > 1) made += ", ";
    made += json_string(key) + ": " + json;
  }
  return made + "}";
}

}  // namespace mimo::chat
