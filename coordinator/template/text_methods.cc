// The methods of str: what looks at a string, and changes of case and of its ends. Cutting and
// joining is in text_pieces.cc.
#include <algorithm>
#include <string>
#include <unordered_map>

#include "coordinator/template/format.h"
#include "coordinator/template/methods.h"
#include "coordinator/template/object.h"
#include "coordinator/template/text_pieces.h"
#include "coordinator/template/unicode.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

using Mapping = std::string (*)(std::string_view);

template <Mapping kMap>
Result<Value> mapped_text(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY(bind_positional(arguments, "a str's method", 0, 0));
  return machine.text(kMap(self.as_text()), self.is_markup());
}

template <bool kLeft, bool kRight>
Result<Value> stripped(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "strip()", 0, 1));
  if (given[0].is_missing() || given[0].is_none())
    return machine.text(std::string(strip(self.as_text(), nullptr, kLeft, kRight)),
                        self.is_markup());
  TRY_ASSIGN(const std::string chars, to_text(given[0], "", "strip()'s characters"));
  const std::string_view set = chars;
  if (!machine.spend(static_cast<int64_t>(set.size() / 8))) return machine.exhausted();
  return machine.text(std::string(strip(self.as_text(), &set, kLeft, kRight)), self.is_markup());
}

// All of the characters, of which there is at least one.
template <bool (*kIs)(char32_t)>
Result<Value> all_are(Machine&, const Value& self, const Arguments& arguments) {
  TRY(bind_positional(arguments, "a str's method", 0, 0));
  const std::string& bytes = self.as_text();
  bool all = !bytes.empty();
  for (size_t at = 0; at < bytes.size() && all;) all = kIs(text::next_code_point(bytes, &at));
  return Value::boolean(all);
}

// No letter of the other cases, and at least one of this.
template <bool kUpper>
Result<Value> is_of_case(Machine&, const Value& self, const Arguments& arguments) {
  TRY(bind_positional(arguments, "a str's method", 0, 0));
  return Value::boolean(kUpper ? is_upper_text(self.as_text()) : is_lower_text(self.as_text()));
}

Result<Value> is_title(Machine&, const Value& self, const Arguments& arguments) {
  TRY(bind_positional(arguments, "istitle()", 0, 0));
  bool seen = false;
  bool in_word = false;
  const std::string& bytes = self.as_text();
  for (size_t at = 0; at < bytes.size();) {
    const char32_t c = text::next_code_point(bytes, &at);
    const bool capital = is_cased_upper(c) || is_cased_title(c);
    if (capital == in_word && (capital || is_cased_lower(c))) return Value::boolean(false);
    in_word = capital || is_cased_lower(c);
    seen = seen || in_word;
  }
  return Value::boolean(seen);
}

Result<Value> is_ascii(Machine&, const Value& self, const Arguments& arguments) {
  TRY(bind_positional(arguments, "isascii()", 0, 0));
  return Value::boolean(std::all_of(self.as_text().begin(), self.as_text().end(),
                                    [](char c) { return static_cast<uint8_t>(c) < 0x80; }));
}

Result<Value> is_printable_text(Machine&, const Value& self, const Arguments& arguments) {
  TRY(bind_positional(arguments, "isprintable()", 0, 0));
  const std::string& bytes = self.as_text();
  for (size_t at = 0; at < bytes.size();) {
    if (!is_printable(text::next_code_point(bytes, &at))) return Value::boolean(false);
  }
  return Value::boolean(true);
}

Result<Value> is_identifier(Machine&, const Value& self, const Arguments& arguments) {
  TRY(bind_positional(arguments, "isidentifier()", 0, 0));
  const std::string& bytes = self.as_text();
  bool is = !bytes.empty();
  for (size_t at = 0; at < bytes.size() && is;) {
    const bool first = at == 0;
    const char32_t c = text::next_code_point(bytes, &at);
    is = first ? is_identifier_start(c) : is_identifier_part(c);
  }
  return Value::boolean(is);
}

enum class Side : uint8_t { kLeft, kRight, kCenter };

template <Side kSide>
Result<Value> padded(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "a padding", 1, 2));
  TRY_ASSIGN(const int64_t width, to_integer(given[0], 0, "a padding's width"));
  TRY_ASSIGN(const std::string fill, to_text(given[1], " ", "a padding's fill"));
  if (num_code_points(fill) != 1)
    return invalid_argument("a padding's fill is '" + fill + "', expected one character");
  const int64_t missing = width - num_code_points(self.as_text());
  if (missing <= 0) return self;
  int64_t left = 0;
  if (kSide == Side::kRight) left = missing;
  if (kSide == Side::kCenter) left = missing / 2 + (missing & width & 1);
  return pad(machine, self, left, missing - left, fill);
}

Result<Value> zero_filled(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "zfill()", 1, 1));
  TRY_ASSIGN(const int64_t width, to_integer(given[0], 0, "zfill()'s width"));
  const std::string& bytes = self.as_text();
  const int64_t missing = width - num_code_points(bytes);
  if (missing <= 0) return self;
  const bool has_sign = !bytes.empty() && (bytes[0] == '+' || bytes[0] == '-');
  TRY_ASSIGN(const Value digits, machine.text(bytes.substr(has_sign ? 1 : 0), self.is_markup()));
  TRY_ASSIGN(const Value filled, pad(machine, digits, missing, 0, "0"));
  return machine.text(bytes.substr(0, has_sign ? 1 : 0) + filled.as_text(), self.is_markup());
}

Result<Value> formatted(Machine& machine, const Value& self, const Arguments& arguments) {
  return brace_format(machine, self, arguments);
}

Result<Value> not_for_templates(Machine&, const Value&, const Arguments&) {
  return invalid_argument("this method of str is not supported");
}

using Table = std::unordered_map<std::string_view, Method>;

const Table& table() {
  static const Table methods{
      {"upper", mapped_text<upper>},
      {"lower", mapped_text<lower>},
      {"title", mapped_text<title>},
      {"capitalize", mapped_text<capitalize>},
      {"swapcase", mapped_text<swap_case>},
      {"strip", stripped<true, true>},
      {"lstrip", stripped<true, false>},
      {"rstrip", stripped<false, true>},
      {"isalpha", all_are<is_alpha>},
      {"isalnum", all_are<is_alnum>},
      {"isdigit", all_are<is_digit>},
      {"isdecimal", all_are<is_decimal>},
      {"isnumeric", all_are<is_numeric>},
      {"isspace", all_are<is_space>},
      {"isupper", is_of_case<true>},
      {"islower", is_of_case<false>},
      {"istitle", is_title},
      {"isascii", is_ascii},
      {"isprintable", is_printable_text},
      {"isidentifier", is_identifier},
      {"ljust", padded<Side::kLeft>},
      {"rjust", padded<Side::kRight>},
      {"center", padded<Side::kCenter>},
      {"zfill", zero_filled},
      {"format", formatted},
      {"casefold", not_for_templates},
      {"encode", not_for_templates},
      {"expandtabs", not_for_templates},
      {"format_map", not_for_templates},
      {"maketrans", not_for_templates},
      {"translate", not_for_templates},
  };
  return methods;
}

}  // namespace

Method find_text_method(std::string_view name) {
  const auto found = table().find(name);
  if (found != table().end()) return found->second;
  return find_piece_method(name);
}

}  // namespace mimo::chat
