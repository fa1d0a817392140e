#include "coordinator/template/printing.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "coordinator/template/unicode.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

Result<void> append_items(Machine& machine, const Sequence& sequence, std::string* out) {
  const bool list = sequence.kind == Sequence::Kind::kList;
  out->push_back(list ? '[' : '(');
  for (size_t i = 0; i < sequence.items.size(); ++i) {
    if (i > 0) out->append(", ");
    TRY(append_repr(machine, sequence.items[i], out));
  }
  if (!list && sequence.items.size() == 1) out->push_back(',');
  out->push_back(list ? ']' : ')');
  return {};
}

Result<void> append_entries(Machine& machine, const Dict& dict, std::string* out) {
  out->push_back('{');
  bool first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!first) out->append(", ");
    first = false;
    TRY(append_repr(machine, key, out));
    out->append(": ");
    TRY(append_repr(machine, value, out));
  }
  out->push_back('}');
  return {};
}

void append_escaped(char32_t c, std::string* out) {
  char buffer[16];
  const char* format = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
  std::snprintf(buffer, sizeof buffer, format, static_cast<unsigned>(c));
  out->append(buffer);
}

}  // namespace

Result<void> append_str(Machine& machine, const Value& value, std::string* out) {
  if (value.is_text()) {
    out->append(value.as_text());
    return machine.fits(static_cast<int64_t>(out->size()));
  }
  if (value.is_undefined()) return {};
  return append_repr(machine, value, out);
}

Result<void> append_repr(Machine& machine, const Value& value, std::string* out) {
  if (!machine.spend(1)) return machine.exhausted();
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      out->append("Undefined");
      break;
    case Value::Kind::kNone:
      out->append("None");
      break;
    case Value::Kind::kBool:
      out->append(value.as_bool() ? "True" : "False");
      break;
    case Value::Kind::kInt:
      out->append(std::to_string(value.as_integer()));
      break;
    case Value::Kind::kFloat:
      out->append(float_repr(value.as_real()));
      break;
    case Value::Kind::kText:
      if (value.is_markup()) out->append("Markup(");
      out->append(text_repr(value.as_text()));
      if (value.is_markup()) out->push_back(')');
      break;
    case Value::Kind::kSequence:
      TRY(append_items(machine, value.as_sequence(), out));
      break;
    case Value::Kind::kDict:
      TRY(append_entries(machine, value.as_dict(), out));
      break;
    case Value::Kind::kObject: {
      TRY_ASSIGN(const std::string shown, value.as_object().repr(machine));
      out->append(shown);
      break;
    }
  }
  return machine.fits(static_cast<int64_t>(out->size()));
}

Result<std::string> str(Machine& machine, const Value& value) {
  std::string out;
  TRY(append_str(machine, value, &out));
  return out;
}

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer - 1, value, std::chars_format::scientific);
  *end.ptr = '\0';
  const std::string_view shortest(buffer, static_cast<size_t>(end.ptr - buffer));
  const size_t e = shortest.find('e');
  const int exponent = std::atoi(buffer + e + 1);
  std::string digits;
  for (const char c : shortest.substr(0, e)) {
    if (c >= '0' && c <= '9') digits.push_back(c);
  }
  std::string out = std::signbit(value) ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    out.push_back(digits[0]);
    if (digits.size() > 1) out.append(".").append(digits, 1);
    char tail[16];
    std::snprintf(tail, sizeof tail, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
    return out + tail;
  }
  if (exponent < 0)
    return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string text_repr(std::string_view text, bool ascii) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const char32_t c = text::next_code_point(text, &at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(c));
    } else if (c == '\n') {
      out.append("\\n");
    } else if (c == '\r') {
      out.append("\\r");
    } else if (c == '\t') {
      out.append("\\t");
    } else if (is_printable(c) && (c < 0x7f || !ascii)) {
      text::append_utf8(c, &out);
    } else {
      append_escaped(c, &out);
    }
  }
  out.push_back(quote);
  return out;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out.append("&amp;");
        break;
      case '<':
        out.append("&lt;");
        break;
      case '>':
        out.append("&gt;");
        break;
      case '\'':
        out.append("&#39;");
        break;
      case '"':
        out.append("&#34;");
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

}  // namespace mimo::chat
