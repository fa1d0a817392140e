#include "coordinator/template/unicode.h"

#include <unicode/uchar.h>
#include <unicode/ustring.h>

#include <algorithm>

#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

using text::append_utf8;
using text::next_code_point;
using text::previous_code_point;

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

enum class Case : uint8_t { kUpper, kLower, kTitle };

// One character's full mapping, for no language: may be several characters.
void append_mapped(char32_t c, Case wanted, std::string* out) {
  if (c < 0x80) {
    const bool up = wanted != Case::kLower;
    if (up && c >= 'a' && c <= 'z') c -= 'a' - 'A';
    if (!up && c >= 'A' && c <= 'Z') c += 'a' - 'A';
    out->push_back(static_cast<char>(c));
    return;
  }
  UChar from[2];
  int32_t length = 0;
  UErrorCode status = U_ZERO_ERROR;
  const auto code = static_cast<UChar32>(c);
  U16_APPEND_UNSAFE(from, length, code);
  UChar to[8];
  int32_t mapped = 0;
  switch (wanted) {
    case Case::kUpper:
      mapped = u_strToUpper(to, 8, from, length, "", &status);
      break;
    case Case::kLower:
      mapped = u_strToLower(to, 8, from, length, "", &status);
      break;
    case Case::kTitle:
      mapped = u_strToTitle(to, 8, from, length, nullptr, "", &status);
      break;
  }
  if (U_FAILURE(status)) return append_utf8(c, out);
  for (int32_t i = 0; i < mapped;) {
    UChar32 each;
    U16_NEXT_UNSAFE(to, i, each);
    append_utf8(static_cast<char32_t>(each), out);
  }
}

bool has_case(char32_t c) { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_CASED); }

bool is_case_ignorable(char32_t c) {
  return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_CASE_IGNORABLE);
}

// A capital sigma at text[at, next) ends a word: it becomes a final one.
bool is_final_sigma(std::string_view text, size_t at, size_t next) {
  bool cased_before = false;
  for (size_t i = at; i > 0;) {
    size_t j = i = previous_code_point(text, i);
    const char32_t c = next_code_point(text, &j);
    if (is_case_ignorable(c)) continue;
    cased_before = has_case(c);
    break;
  }
  if (!cased_before) return false;
  while (next < text.size()) {
    const char32_t c = next_code_point(text, &next);
    if (!is_case_ignorable(c)) return !has_case(c);
  }
  return true;
}

void append_lower(std::string_view text, size_t at, size_t next, char32_t c, std::string* out) {
  if (c == 0x3a3) {
    append_utf8(is_final_sigma(text, at, next) ? 0x3c2 : 0x3c3, out);
  } else {
    append_mapped(c, Case::kLower, out);
  }
}

}  // namespace

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

bool is_printable(char32_t c) {
  if (c < 0x7f) return c >= 0x20;
  constexpr uint32_t kHidden = U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CS_MASK | U_GC_CO_MASK |
                               U_GC_CN_MASK | U_GC_ZL_MASK | U_GC_ZP_MASK | U_GC_ZS_MASK;
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & kHidden) == 0;
}

bool is_alpha(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_L_MASK) != 0; }
bool is_decimal(char32_t c) { return decimal_value(c) >= 0; }
bool is_digit(char32_t c) {
  const auto type = u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_NUMERIC_TYPE);
  return type == U_NT_DECIMAL || type == U_NT_DIGIT;
}
bool is_numeric(char32_t c) {
  return u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_NUMERIC_TYPE) != U_NT_NONE;
}
bool is_alnum(char32_t c) { return is_alpha(c) || is_numeric(c); }
bool is_cased_upper(char32_t c) { return u_isUUppercase(static_cast<UChar32>(c)); }
bool is_cased_lower(char32_t c) { return u_isULowercase(static_cast<UChar32>(c)); }
bool is_cased_title(char32_t c) { return u_istitle(static_cast<UChar32>(c)); }
bool is_identifier_start(char32_t c) {
  return c == '_' || u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_XID_START);
}
bool is_identifier_part(char32_t c) {
  return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_XID_CONTINUE);
}

int32_t decimal_value(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9' ? static_cast<int32_t>(c - '0') : -1;
  return u_charDigitValue(static_cast<UChar32>(c));
}

std::string upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();)
    append_mapped(next_code_point(text, &at), Case::kUpper, &out);
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const char32_t c = next_code_point(text, &at);
    append_lower(text, start, at, c, &out);
  }
  return out;
}

std::string capitalize(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const char32_t c = next_code_point(text, &at);
    if (start == 0) {
      append_mapped(c, Case::kTitle, &out);
    } else {
      append_lower(text, start, at, c, &out);
    }
  }
  return out;
}

std::string title(std::string_view text) {
  std::string out;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const char32_t c = next_code_point(text, &at);
    if (in_word) {
      append_lower(text, start, at, c, &out);
    } else {
      append_mapped(c, Case::kTitle, &out);
    }
    in_word = has_case(c);
  }
  return out;
}

std::string swap_case(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const char32_t c = next_code_point(text, &at);
    if (is_cased_upper(c)) {
      append_lower(text, start, at, c, &out);
    } else if (is_cased_lower(c)) {
      append_mapped(c, Case::kUpper, &out);
    } else {
      append_utf8(c, &out);
    }
  }
  return out;
}

std::u32string code_points(std::string_view text) {
  std::u32string out;
  for (size_t at = 0; at < text.size();) out.push_back(next_code_point(text, &at));
  return out;
}

std::string utf8(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) append_utf8(c, &out);
  return out;
}

int64_t num_code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; });
}

size_t byte_of(std::string_view text, int64_t index) {
  if (is_ascii(text)) return std::min(text.size(), static_cast<size_t>(index));
  size_t at = 0;
  while (index-- > 0 && at < text.size()) next_code_point(text, &at);
  return at;
}

std::string_view strip(std::string_view text, const std::string_view* chars, bool left,
                       bool right) {
  const std::u32string set = chars == nullptr ? std::u32string() : code_points(*chars);
  const auto goes = [&](char32_t c) {
    return chars == nullptr ? is_space(c) : set.find(c) != std::u32string::npos;
  };
  size_t first = 0;
  while (left && first < text.size()) {
    size_t next = first;
    if (!goes(next_code_point(text, &next))) break;
    first = next;
  }
  size_t last = text.size();
  while (right && last > first) {
    const size_t start = previous_code_point(text, last);
    size_t next = start;
    if (!goes(next_code_point(text, &next))) break;
    last = start;
  }
  return text.substr(first, last - first);
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at;
    const char32_t c = next_code_point(text, &at);
    const bool breaks =
        (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!breaks) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(start, (keep_ends ? at : end) - start));
    start = at;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

}  // namespace mimo::chat
