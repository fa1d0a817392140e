// How one number or string is laid out: the common part of format.h.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>

#include "coordinator/template/format.h"
#include "coordinator/template/printing.h"
#include "coordinator/template/unicode.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

// More digits than a double ever has, and no more than a snprintf should be asked for.
constexpr int64_t kDigitsMax = 400;

Result<std::string> padded(Machine& machine, const Layout& layout, char align, std::string head,
                           std::string body) {
  const int64_t missing = layout.width - num_code_points(head) - num_code_points(body);
  if (missing <= 0) return head + body;
  TRY(machine.fits(missing * static_cast<int64_t>(layout.fill.size())));
  const auto fill = [&](int64_t count) {
    std::string out;
    for (int64_t i = 0; i < count; ++i) out += layout.fill;
    return out;
  };
  switch (align) {
    case '<':
      return head + body + fill(missing);
    case '^':
      return fill(missing / 2) + head + body + fill(missing - missing / 2);
    case '=':
      return head + fill(missing) + body;
    default:
      return fill(missing) + head + body;
  }
}

std::string sign_of(bool negative, char sign) {
  if (negative) return "-";
  return sign == '-' ? "" : std::string(1, sign);
}

// Separators between groups of digits, counted from the point or the end.
std::string grouped(const std::string& number, char separator, size_t group) {
  if (separator == 0) return number;
  size_t end = 0;
  while (end < number.size() && std::isxdigit(static_cast<unsigned char>(number[end])) != 0) ++end;
  std::string out;
  for (size_t i = 0; i < end; ++i) {
    if (i > 0 && (end - i) % group == 0) out.push_back(separator);
    out.push_back(number[i]);
  }
  return out + number.substr(end);
}

std::string digits_of(uint64_t magnitude, uint32_t base, bool upper) {
  if (magnitude == 0) return "0";
  const std::string_view signs = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string out;
  for (; magnitude > 0; magnitude /= base) out.push_back(signs[magnitude % base]);
  std::reverse(out.begin(), out.end());
  return out;
}

Error bad_type(char type, const char* what) {
  return invalid_argument(std::string("format code '") + type + "' is not for " + what);
}

}  // namespace

Result<std::string> lay_out_text(Machine& machine, std::string_view text, const Layout& layout) {
  if (layout.type != 0 && layout.type != 's') return bad_type(layout.type, "str");
  if (layout.sign != '-' || layout.alternate || layout.group != 0 || layout.align == '=')
    return invalid_argument("a sign, '#', '=' or ',' is not for formatting a str");
  if (layout.precision >= 0) text = text.substr(0, byte_of(text, layout.precision));
  return padded(machine, layout, layout.align == 0 ? '<' : layout.align, "", std::string(text));
}

Result<std::string> lay_out_integer(Machine& machine, int64_t value, const Layout& layout) {
  const char type = layout.type == 0 ? 'd' : layout.type;
  if (std::string_view("eEfFgG%").find(type) != std::string_view::npos)
    return lay_out_real(machine, static_cast<double>(value), layout);
  if (layout.precision >= 0) return invalid_argument("a precision is not for formatting an int");
  const char align = layout.align == 0 ? '>' : layout.align;
  if (type == 'c') {
    if (value < 0 || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
      return invalid_argument("%c is " + std::to_string(value) + ", expected a character's number");
    std::string character;
    text::append_utf8(static_cast<char32_t>(value), &character);
    return padded(machine, layout, align, "", character);
  }
  const bool negative = value < 0;
  const uint64_t magnitude =
      negative ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  uint32_t base = 10;
  if (type == 'x' || type == 'X') base = 16;
  if (type == 'o') base = 8;
  if (type == 'b') base = 2;
  if (base == 10 && type != 'd' && type != 'n') return bad_type(type, "int");
  std::string head = sign_of(negative, layout.sign);
  if (layout.alternate && base != 10) head += std::string("0") + type;
  const std::string digits = digits_of(magnitude, base, type == 'X');
  return padded(machine, layout, align, head, grouped(digits, layout.group, base == 10 ? 3 : 4));
}

Result<std::string> lay_out_real(Machine& machine, double value, const Layout& layout) {
  char type = layout.type;
  if (type != 0 && std::string_view("eEfFgGn%").find(type) == std::string_view::npos)
    return bad_type(type, "float");
  if (layout.precision > kDigitsMax)
    return invalid_argument("a precision of " + std::to_string(layout.precision) +
                            " digits, at most " + std::to_string(kDigitsMax));
  const std::string head = sign_of(std::signbit(value) && !std::isnan(value), layout.sign);
  double magnitude = std::fabs(value);
  const char align = layout.align == 0 ? '>' : layout.align;
  if (!std::isfinite(value)) {
    std::string name = std::isnan(value) ? "nan" : "inf";
    if (type == 'E' || type == 'F' || type == 'G') name = upper(name);
    return padded(machine, layout, align, head, name + (type == '%' ? "%" : ""));
  }
  if (type == 0 && layout.precision < 0)
    return padded(machine, layout, align, head, grouped(float_repr(magnitude), layout.group, 3));
  std::string tail;
  if (type == '%') {
    magnitude *= 100;
    tail = "%";
    type = 'f';
  }
  const bool plain = type == 0;
  if (plain || type == 'n') type = 'g';
  const std::string format = std::string(layout.alternate ? "%#.*" : "%.*") + type;
  char buffer[1024];
  const int precision = layout.precision < 0 ? 6 : static_cast<int>(layout.precision);
  std::snprintf(buffer, sizeof buffer, format.c_str(), precision, magnitude);
  std::string body = buffer;
  if (plain && body.find_first_of(".e") == std::string::npos) body += ".0";
  return padded(machine, layout, align, head, grouped(body, layout.group, 3) + tail);
}

}  // namespace mimo::chat
