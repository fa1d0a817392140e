#include <unicode/uchar.h>

#include <cstdio>
#include <string>

#include "coordinator/template/lexer.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

// Characters past ASCII written as escapes, so that a backslash before one is read as Python does.
std::string ascii_only(std::string_view literal) {
  std::string out;
  for (size_t at = 0; at < literal.size();) {
    const char32_t c = text::next_code_point(literal, &at);
    if (c < 0x80) {
      out.push_back(static_cast<char>(c));
      continue;
    }
    char buffer[16];
    const char* format = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
    std::snprintf(buffer, sizeof buffer, format, static_cast<unsigned>(c));
    out += buffer;
  }
  return out;
}

int32_t hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

Result<void> append_character(char32_t c, std::string* out) {
  if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
    return invalid_argument("an escape in a string is no character: " + std::to_string(c));
  text::append_utf8(c, out);
  return {};
}

Result<char32_t> hex(std::string_view text, size_t* at, size_t digits) {
  char32_t c = 0;
  for (size_t i = 0; i < digits; ++i) {
    const int32_t value = *at < text.size() ? hex_value(text[*at]) : -1;
    if (value < 0)
      return invalid_argument("an escape in a string needs " + std::to_string(digits) +
                              " hexadecimal digits");
    c = c * 16 + static_cast<char32_t>(value);
    ++*at;
  }
  return c;
}

// \N{LATIN SMALL LETTER A}, `at` behind the N.
Result<char32_t> named(std::string_view text, size_t* at) {
  const size_t end = text.find('}', *at);
  if (*at >= text.size() || text[*at] != '{' || end == std::string_view::npos)
    return invalid_argument("\\N in a string needs a name in braces");
  const std::string name(text.substr(*at + 1, end - *at - 1));
  *at = end + 1;
  UErrorCode status = U_ZERO_ERROR;
  const UChar32 c = u_charFromName(U_UNICODE_CHAR_NAME, name.c_str(), &status);
  if (U_FAILURE(status))
    return invalid_argument("\\N in a string names no character: '" + name + "'");
  return static_cast<char32_t>(c);
}

// The escape whose backslash is at text[*at - 1].
Result<void> append_escape(std::string_view text, size_t* at, std::string* out) {
  constexpr std::string_view kLetters = "\\'\"abfnrtv";
  constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
  if (*at >= text.size()) return invalid_argument("a string ends in a backslash");
  const char letter = text[(*at)++];
  if (letter == '\n') return {};
  if (const size_t i = kLetters.find(letter); i != std::string_view::npos) {
    out->push_back(kMeanings[i]);
    return {};
  }
  if (letter >= '0' && letter <= '7') {
    char32_t c = static_cast<char32_t>(letter - '0');
    for (int32_t i = 0; i < 2 && *at < text.size() && text[*at] >= '0' && text[*at] <= '7'; ++i)
      c = c * 8 + static_cast<char32_t>(text[(*at)++] - '0');
    return append_character(c, out);
  }
  if (letter == 'x' || letter == 'u' || letter == 'U') {
    TRY_ASSIGN(const char32_t c, hex(text, at, letter == 'x' ? 2 : letter == 'u' ? 4 : 8));
    return append_character(c, out);
  }
  if (letter == 'N') {
    TRY_ASSIGN(const char32_t c, named(text, at));
    return append_character(c, out);
  }
  out->push_back('\\');
  out->push_back(letter);
  return {};
}

}  // namespace

Result<std::string> unescape(std::string_view literal) {
  if (literal.find('\\') == std::string_view::npos) return std::string(literal);
  const std::string text = ascii_only(literal);
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at++];
    if (c == '\\') {
      TRY(append_escape(text, &at, &out));
    } else {
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace mimo::chat
