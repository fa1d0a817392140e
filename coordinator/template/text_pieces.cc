#include "coordinator/template/text_pieces.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <vector>

#include "coordinator/template/object.h"
#include "coordinator/template/printing.h"
#include "coordinator/template/unicode.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

using Pieces = std::vector<std::string_view>;

Result<Value> list_of(Machine& machine, const Pieces& pieces, bool markup) {
  std::vector<Value> items;
  for (const std::string_view piece : pieces) {
    TRY_ASSIGN(Value item, machine.text(std::string(piece), markup));
    items.push_back(std::move(item));
  }
  return machine.list(std::move(items));
}

Pieces split_at_spaces(std::string_view text, int64_t most) {
  Pieces pieces;
  std::string_view rest = strip(text, nullptr, true, false);
  while (!rest.empty()) {
    if (static_cast<int64_t>(pieces.size()) == most) {
      pieces.push_back(rest);
      break;
    }
    size_t end = 0;
    for (size_t at = 0; at < rest.size();) {
      if (is_space(text::next_code_point(rest, &at))) break;
      end = at;
    }
    pieces.push_back(rest.substr(0, end));
    rest = strip(rest.substr(end), nullptr, true, false);
  }
  return pieces;
}

Pieces rsplit_at_spaces(std::string_view text, int64_t most) {
  Pieces pieces;
  std::string_view rest = strip(text, nullptr, false, true);
  while (!rest.empty()) {
    if (static_cast<int64_t>(pieces.size()) == most) {
      pieces.push_back(rest);
      break;
    }
    size_t start = rest.size();
    while (start > 0) {
      size_t at = text::previous_code_point(rest, start);
      const size_t before = at;
      if (is_space(text::next_code_point(rest, &at))) break;
      start = before;
    }
    pieces.push_back(rest.substr(start));
    rest = strip(rest.substr(0, start), nullptr, false, true);
  }
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

template <bool kFromRight>
Result<Value> split(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "split()", {"sep", "maxsplit"}, 0));
  TRY_ASSIGN(int64_t most, to_integer(given[1], -1, "split()'s maxsplit"));
  std::string_view rest = self.as_text();
  if (given[0].is_missing() || given[0].is_none()) {
    const Pieces pieces = kFromRight ? rsplit_at_spaces(rest, most) : split_at_spaces(rest, most);
    return list_of(machine, pieces, self.is_markup());
  }
  TRY_ASSIGN(const std::string separator, to_text(given[0], "", "split()'s separator"));
  if (separator.empty()) return invalid_argument("split()'s separator is empty");
  Pieces pieces;
  for (; most != 0; --most) {
    const size_t at = kFromRight ? rest.rfind(separator) : rest.find(separator);
    if (at == std::string_view::npos) break;
    const size_t behind = at + separator.size();
    pieces.push_back(kFromRight ? rest.substr(behind) : rest.substr(0, at));
    rest = kFromRight ? rest.substr(0, at) : rest.substr(behind);
  }
  pieces.push_back(rest);
  if (kFromRight) std::reverse(pieces.begin(), pieces.end());
  return list_of(machine, pieces, self.is_markup());
}

Result<Value> splitlines(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "splitlines()", {"keepends"}, 0));
  TRY_ASSIGN(const int64_t keep, to_integer(given[0], 0, "splitlines()'s keepends"));
  return list_of(machine, split_lines(self.as_text(), keep != 0), self.is_markup());
}

template <bool kFromRight>
Result<Value> partition(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "partition()", 1, 1));
  TRY_ASSIGN(const std::string separator, to_text(given[0], "", "partition()'s separator"));
  if (separator.empty()) return invalid_argument("partition()'s separator is empty");
  const std::string& bytes = self.as_text();
  const size_t at = kFromRight ? bytes.rfind(separator) : bytes.find(separator);
  if (at == std::string::npos) {
    const Value nothing = Value::text("");
    return machine.tuple(kFromRight ? std::vector<Value>{nothing, nothing, self}
                                    : std::vector<Value>{self, nothing, nothing});
  }
  TRY_ASSIGN(Value before, machine.text(bytes.substr(0, at), self.is_markup()));
  TRY_ASSIGN(Value behind, machine.text(bytes.substr(at + separator.size()), self.is_markup()));
  return machine.tuple({std::move(before), Value::text(separator), std::move(behind)});
}

// The part of the string that start and stop leave, and the byte where it begins.
struct Window {
  std::string_view text;
  size_t offset = 0;
  bool empty_past_end = false;  // start lies behind the end: not even "" is found
};

Result<Window> window(const Value& self, const Value& start, const Value& stop) {
  const std::string_view bytes = self.as_text();
  const int64_t size = num_code_points(bytes);
  const auto place = [size](const Value& value, int64_t fallback) -> Result<int64_t> {
    if (value.is_none()) return fallback;
    TRY_ASSIGN(const int64_t at, to_integer(value, fallback, "a search's bound"));
    return at < 0 ? std::max<int64_t>(at + size, 0) : at;
  };
  TRY_ASSIGN(const int64_t first, place(start, 0));
  TRY_ASSIGN(int64_t last, place(stop, size));
  last = std::min(last, size);
  Window result;
  result.empty_past_end = first > last;
  if (result.empty_past_end) return result;
  result.offset = byte_of(bytes, first);
  result.text = bytes.substr(result.offset, byte_of(bytes, last) - result.offset);
  return result;
}

template <bool kFromRight, bool kMustBeThere>
Result<Value> find(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "find()", 1, 3));
  TRY_ASSIGN(const std::string wanted, to_text(given[0], "", "find()'s substring"));
  if (!machine.spend(static_cast<int64_t>(self.as_text().size() / 64))) return machine.exhausted();
  TRY_ASSIGN(const Window in, window(self, given[1], given[2]));
  const size_t at = in.empty_past_end ? std::string::npos
                    : kFromRight      ? in.text.rfind(wanted)
                                      : in.text.find(wanted);
  if (at != std::string::npos)
    return Value::integer(
        num_code_points(std::string_view(self.as_text()).substr(0, in.offset + at)));
  if (kMustBeThere) return invalid_argument("index() finds no '" + wanted + "'");
  return Value::integer(-1);
}

Result<Value> count(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "count()", 1, 3));
  TRY_ASSIGN(const std::string wanted, to_text(given[0], "", "count()'s substring"));
  if (!machine.spend(static_cast<int64_t>(self.as_text().size() / 64))) return machine.exhausted();
  TRY_ASSIGN(const Window in, window(self, given[1], given[2]));
  if (in.empty_past_end) return Value::integer(0);
  if (wanted.empty()) return Value::integer(num_code_points(in.text) + 1);
  int64_t found = 0;
  for (size_t at = in.text.find(wanted); at != std::string_view::npos;
       at = in.text.find(wanted, at + wanted.size()))
    ++found;
  return Value::integer(found);
}

template <bool kAtEnd>
Result<Value> has_end(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "startswith()", 1, 3));
  TRY_ASSIGN(const Window in, window(self, given[1], given[2]));
  std::vector<Value> wanted{given[0]};
  if (given[0].is_tuple()) wanted = given[0].items();
  if (!machine.spend(static_cast<int64_t>(wanted.size()))) return machine.exhausted();
  for (const Value& each : wanted) {
    TRY_ASSIGN(const std::string end, to_text(each, "", "startswith()'s argument"));
    if (in.empty_past_end) continue;
    if (kAtEnd ? in.text.ends_with(end) : in.text.starts_with(end)) return Value::boolean(true);
  }
  return Value::boolean(false);
}

Result<Value> with_pieces_replaced(Machine& machine, const Value& self,
                                   const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "replace()", 2, 3));
  TRY_ASSIGN(const std::string from, to_text(given[0], "", "replace()'s first argument"));
  TRY_ASSIGN(std::string to, to_text(given[1], "", "replace()'s second argument"));
  TRY_ASSIGN(const int64_t most, to_integer(given[2], -1, "replace()'s count"));
  if (self.is_markup() && !given[1].is_markup()) to = escape_html(to);
  return replace(machine, self, from, to, most);
}

Result<Value> joined(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "join()", 1, 1));
  TRY_ASSIGN(const std::vector<Value> items, items_of(machine, given[0]));
  std::string out;
  bool first = true;
  for (const Value& item : items) {
    TRY_ASSIGN(std::string text, to_text(item, "", "join()'s item"));
    if (item.is_missing()) return invalid_argument("join()'s item is undefined, expected str");
    if (self.is_markup() && !item.is_markup()) text = escape_html(text);
    if (!first) out += self.as_text();
    first = false;
    out += text;
    TRY(machine.fits(static_cast<int64_t>(out.size())));
  }
  return machine.text(std::move(out), self.is_markup());
}

template <bool kAtEnd>
Result<Value> end_removed(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "removeprefix()", 1, 1));
  TRY_ASSIGN(const std::string end, to_text(given[0], "", "removeprefix()'s argument"));
  std::string_view text = self.as_text();
  if (kAtEnd && text.ends_with(end)) text.remove_suffix(end.size());
  if (!kAtEnd && text.starts_with(end)) text.remove_prefix(end.size());
  return machine.text(std::string(text), self.is_markup());
}

// Letters of the wanted case are there, and none of the others.
bool is_one_case(std::string_view text, bool (*wanted)(char32_t), bool (*other)(char32_t)) {
  bool seen = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = text::next_code_point(text, &at);
    if (other(c) || is_cased_title(c)) return false;
    seen = seen || wanted(c);
  }
  return seen;
}

}  // namespace

bool is_upper_text(std::string_view text) {
  return is_one_case(text, is_cased_upper, is_cased_lower);
}

bool is_lower_text(std::string_view text) {
  return is_one_case(text, is_cased_lower, is_cased_upper);
}

Result<Value> pad(Machine& machine, const Value& text, int64_t left, int64_t right,
                  std::string_view fill) {
  const auto each = static_cast<int64_t>(fill.size());
  TRY(machine.fits(left));
  TRY(machine.fits(right));
  TRY(machine.fits((left + right) * each + static_cast<int64_t>(text.as_text().size())));
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += text.as_text();
  for (int64_t i = 0; i < right; ++i) out += fill;
  return machine.text(std::move(out), text.is_markup());
}

Result<Value> replace(Machine& machine, const Value& text, std::string_view from,
                      std::string_view to, int64_t count) {
  const std::string_view bytes = text.as_text();
  if (!machine.spend(static_cast<int64_t>(bytes.size() / 64))) return machine.exhausted();
  std::string out;
  size_t at = 0;
  while (count != 0) {
    const size_t found = bytes.find(from, at);
    if (found == std::string_view::npos) break;
    out += bytes.substr(at, found - at);
    out += to;
    at = found + from.size();
    --count;
    TRY(machine.fits(static_cast<int64_t>(out.size())));
    if (!from.empty()) continue;
    // An empty string is found before every character and at the end.
    if (at >= bytes.size()) return machine.text(std::move(out), text.is_markup());
    const size_t start = at;
    text::next_code_point(bytes, &at);
    out += bytes.substr(start, at - start);
  }
  out += bytes.substr(at);
  return machine.text(std::move(out), text.is_markup());
}

Method find_piece_method(std::string_view name) {
  static const std::unordered_map<std::string_view, Method> methods{
      {"split", split<false>},
      {"rsplit", split<true>},
      {"splitlines", splitlines},
      {"partition", partition<false>},
      {"rpartition", partition<true>},
      {"find", find<false, false>},
      {"rfind", find<true, false>},
      {"index", find<false, true>},
      {"rindex", find<true, true>},
      {"count", count},
      {"startswith", has_end<false>},
      {"endswith", has_end<true>},
      {"replace", with_pieces_replaced},
      {"join", joined},
      {"removeprefix", end_removed<false>},
      {"removesuffix", end_removed<true>},
  };
  const auto found = methods.find(name);
  return found == methods.end() ? nullptr : found->second;
}

}  // namespace mimo::chat
