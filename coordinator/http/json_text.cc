#include "coordinator/http/json_text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "coordinator/text/utf8.h"

namespace mimo::http {
namespace {

bool is_plain(char c) {
  const auto byte = static_cast<uint8_t>(c);
  return byte >= 0x20 && byte != '"' && byte != '\\';
}

void append_escaped(char c, std::string* out) {
  constexpr const char* kHex = "0123456789abcdef";
  switch (c) {
    case '"':
      *out += "\\\"";
      return;
    case '\\':
      *out += "\\\\";
      return;
    case '\n':
      *out += "\\n";
      return;
    case '\r':
      *out += "\\r";
      return;
    case '\t':
      *out += "\\t";
      return;
    default:
      *out += "\\u00";
      *out += kHex[static_cast<uint8_t>(c) >> 4];
      *out += kHex[static_cast<uint8_t>(c) & 15];
  }
}

void append_valid(std::string_view text, std::string* out) {
  out->reserve(out->size() + text.size() + 2);
  *out += '"';
  size_t plain_from = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_plain(text[i])) continue;
    out->append(text, plain_from, i - plain_from);
    append_escaped(text[i], out);
    plain_from = i + 1;
  }
  out->append(text, plain_from, text.size() - plain_from);
  *out += '"';
}

}  // namespace

void append_quoted(std::string_view text, std::string* out) {
  if (text::find_invalid_utf8(text) == std::string_view::npos) return append_valid(text, out);
  std::string valid;
  text::LossyUtf8 lossy;
  lossy.push(text, &valid);
  lossy.finish(&valid);
  append_valid(valid, out);
}

void append_number(int64_t value, std::string* out) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out->append(digits.data(), end);
}

void append_number(float value, std::string* out) {
  if (std::isnan(value)) {
    *out += "null";
    return;
  }
  constexpr float kMost = std::numeric_limits<float>::max();
  if (std::isinf(value)) value = value > 0 ? kMost : -kMost;
  std::array<char, 32> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out->append(digits.data(), end);
}

}  // namespace mimo::http
