// Filters that make numbers.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <unordered_map>

#include "coordinator/template/operators.h"
#include "coordinator/template/registry.h"
#include "coordinator/template/unicode.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

Result<Value> absolute(Machine&, const Value& subject, const Arguments& arguments) {
  TRY(bind_positional(arguments, "filter 'abs'", 0, 0));
  if (subject.is_float()) return Value::real(std::fabs(subject.as_real()));
  if (subject.is_integer()) return subject.as_integer() < 0 ? negate(subject) : plus(subject);
  if (subject.is_undefined()) return invalid_argument(subject.undefined_reason());
  return invalid_argument(std::string("filter 'abs' is given ") + subject.type_name());
}

// What Python reads numbers from: no white space around, decimal digits of all scripts as ASCII,
// single underscores between digits gone. None where an underscore is out of place.
std::optional<std::string> plain_number(std::string_view text) {
  std::string out;
  bool after_digit = false;
  std::string_view inner = strip(text, nullptr, true, true);
  for (size_t at = 0; at < inner.size();) {
    const char32_t c = text::next_code_point(inner, &at);
    if (c == '_') {
      size_t peek = at;
      const bool before_digit = at < inner.size() && is_alnum(text::next_code_point(inner, &peek));
      if (!after_digit || !before_digit) return std::nullopt;
      after_digit = false;
      continue;
    }
    const int32_t digit = decimal_value(c);
    after_digit = is_alnum(c);
    if (digit >= 0) {
      out.push_back(static_cast<char>('0' + digit));
    } else {
      text::append_utf8(c, &out);
    }
  }
  return out;
}

enum class Read : uint8_t { kNumber, kNotANumber, kTooLarge };

// int(text, base).
Read read_integer(std::string_view text, int64_t base, int64_t* value) {
  const auto plain = plain_number(text);
  if (!plain.has_value()) return Read::kNotANumber;
  std::string_view digits = *plain;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.size() > 1 && digits[0] == '0') {
    const char letter = static_cast<char>(digits[1] | 0x20);
    const int64_t prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (prefix != 0 && (base == prefix || base == 0)) {
      digits.remove_prefix(2);
      base = prefix;
    } else if (base == 0 && digits.find_first_not_of('0') != std::string_view::npos) {
      return Read::kNotANumber;
    }
  }
  if (base == 0) base = 10;
  uint64_t magnitude = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), magnitude,
                                    static_cast<int>(base));
  if (read.ec == std::errc::invalid_argument || read.ptr != digits.data() + digits.size())
    return Read::kNotANumber;
  const uint64_t bound = uint64_t{1} << 63;
  if (read.ec != std::errc() || magnitude > bound - (negative ? 0 : 1)) return Read::kTooLarge;
  *value = static_cast<int64_t>(negative ? 0 - magnitude : magnitude);
  return Read::kNumber;
}

// float(text).
bool read_real(std::string_view text, double* value) {
  const auto plain = plain_number(text);
  if (!plain.has_value() || plain->empty()) return false;
  const std::string name = lower(*plain);
  const bool is_signed = name[0] == '-' || name[0] == '+';
  const std::string_view bare = std::string_view(name).substr(is_signed ? 1 : 0);
  const bool known = bare == "inf" || bare == "infinity" || bare == "nan";
  if (!known && name.find_first_not_of("0123456789+-.e") != std::string::npos) return false;
  char* end = nullptr;
  *value = std::strtod(name.c_str(), &end);
  return end == name.c_str() + name.size();
}

Result<Value> whole(double value) {
  if (std::isnan(value)) return invalid_argument("NaN is no int");
  if (std::fabs(value) >= 9223372036854775808.0)
    return invalid_argument("a float past 64 bits cannot be an int");
  return Value::integer(static_cast<int64_t>(value));
}

Result<Value> integer(Machine&, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'int'", {"default", "base"}, 0));
  const Value fallback = given[0].is_missing() ? Value::integer(0) : given[0];
  if (subject.is_undefined()) return invalid_argument(subject.undefined_reason());
  if (subject.is_integer()) return Value::integer(subject.as_integer());
  if (subject.is_float())
    return std::isnan(subject.as_real()) ? fallback : whole(subject.as_real());
  if (!subject.is_text()) return fallback;
  int64_t value = 0;
  const int64_t base = given[1].is_missing()   ? 10
                       : given[1].is_integer() ? given[1].as_integer()
                                               : 1;
  if (base == 0 || (base >= 2 && base <= 36)) {
    switch (read_integer(subject.as_text(), base, &value)) {
      case Read::kNumber:
        return Value::integer(value);
      case Read::kTooLarge:
        return invalid_argument("the number " + subject.as_text() + " is larger than 64 bits");
      case Read::kNotANumber:
        break;
    }
  }
  double real = 0;
  if (!read_real(subject.as_text(), &real) || std::isnan(real) || std::isinf(real)) return fallback;
  return whole(real);
}

Result<Value> real(Machine&, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'float'", {"default"}, 0));
  if (subject.is_undefined()) return invalid_argument(subject.undefined_reason());
  if (subject.is_number()) return Value::real(subject.as_real());
  double value = 0;
  if (subject.is_text() && read_real(subject.as_text(), &value)) return Value::real(value);
  return given[0].is_missing() ? Value::real(0) : given[0];
}

// round(value, digits) of an int: only negative digits change it.
Result<Value> round_integer(int64_t value, int64_t digits) {
  if (digits >= 0) return Value::integer(value);
  if (digits < -18) return Value::integer(0);
  int64_t unit = 1;
  for (int64_t i = 0; i > digits; --i) unit *= 10;
  const int64_t rest = ((value % unit) + unit) % unit;
  int64_t rounded = 0;
  if (__builtin_sub_overflow(value, rest, &rounded))
    return invalid_argument("the rounded int is past 64 bits");
  const bool odd = (rounded / unit) % 2 != 0;
  const bool up = rest > unit - rest || (rest == unit - rest && odd);
  if (up && __builtin_add_overflow(rounded, unit, &rounded))
    return invalid_argument("the rounded int is past 64 bits");
  return Value::integer(rounded);
}

// Rounds the exact decimal value, halves to even, as Python does.
double round_real(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 340) return value;
  if (digits < -320) return std::copysign(0.0, value);
  if (digits >= 0) {
    char buffer[800];
    std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(digits), value);
    return std::strtod(buffer, nullptr);
  }
  const double unit = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(value / unit) * unit;
}

Result<Value> rounded(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'round'", {"precision", "method"}, 0));
  TRY_ASSIGN(const std::string method, to_text(given[1], "common", "round's method"));
  if (method != "common" && method != "ceil" && method != "floor")
    return invalid_argument("round's method is '" + method + "', expected common, ceil or floor");
  if (subject.is_undefined()) return invalid_argument(subject.undefined_reason());
  if (!subject.is_number())
    return invalid_argument(std::string("filter 'round' is given ") + subject.type_name());
  if (method == "common") {
    if (given[0].is_none()) {
      if (subject.is_integer()) return Value::integer(subject.as_integer());
      return whole(std::nearbyint(subject.as_real()));
    }
    TRY_ASSIGN(const int64_t digits, to_integer(given[0], 0, "round's precision"));
    if (subject.is_integer()) return round_integer(subject.as_integer(), digits);
    return Value::real(round_real(subject.as_real(), digits));
  }
  const Value digits = given[0].is_missing() ? Value::integer(0) : given[0];
  TRY_ASSIGN(const Value unit, compute(machine, Operator::kPower, Value::integer(10), digits));
  TRY_ASSIGN(Value scaled, compute(machine, Operator::kMultiply, subject, unit));
  if (scaled.is_float()) {
    const double value = scaled.as_real();
    TRY_ASSIGN(scaled, whole(method == "ceil" ? std::ceil(value) : std::floor(value)));
  }
  return compute(machine, Operator::kDivide, scaled, unit);
}

}  // namespace

Filter find_number_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, Filter> filters{
      {"abs", absolute},
      {"float", real},
      {"int", integer},
      {"round", rounded},
  };
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace mimo::chat
