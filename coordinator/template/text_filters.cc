// Filters whose subject is a string, or becomes one.
#include <algorithm>
#include <string>
#include <unordered_map>

#include "coordinator/template/format.h"
#include "coordinator/template/object.h"
#include "coordinator/template/printing.h"
#include "coordinator/template/registry.h"
#include "coordinator/template/text_pieces.h"
#include "coordinator/template/to_json.h"
#include "coordinator/template/unicode.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

// The subject as a string; markup stays markup.
Result<Value> soft_text(Machine& machine, const Value& subject) {
  if (subject.is_text()) return subject;
  TRY_ASSIGN(std::string text, str(machine, subject));
  return machine.text(std::move(text));
}

using Mapping = std::string (*)(std::string_view);

template <Mapping kMap>
Result<Value> mapped(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "a filter of strings", {}, 0));
  TRY_ASSIGN(const Value text, soft_text(machine, subject));
  return machine.text(kMap(text.as_text()), text.is_markup());
}

// Jinja's title: words begin behind white space and -({[<.
std::string title_words(std::string_view text) {
  std::string out;
  size_t start = 0;
  const auto flush = [&](size_t end) {
    if (end == start) return;
    size_t second = start;
    text::next_code_point(text, &second);
    out += upper(text.substr(start, second - start));
    out += lower(text.substr(second, end - second));
  };
  for (size_t at = 0; at < text.size();) {
    const size_t here = at;
    const char32_t c = text::next_code_point(text, &at);
    if (!is_space(c) && std::u32string_view(U"-({[<").find(c) == std::u32string_view::npos)
      continue;
    flush(here);
    out += text.substr(here, at - here);
    start = at;
  }
  flush(text.size());
  return out;
}

Result<Value> string(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "filter 'string'", {}, 0));
  return soft_text(machine, subject);
}

Result<Value> trim(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'trim'", {"chars"}, 0));
  TRY_ASSIGN(const Value text, soft_text(machine, subject));
  if (given[0].is_missing() || given[0].is_none())
    return machine.text(std::string(strip(text.as_text(), nullptr, true, true)), text.is_markup());
  TRY_ASSIGN(const std::string chars, to_text(given[0], "", "trim's characters"));
  const std::string_view set = chars;
  return machine.text(std::string(strip(text.as_text(), &set, true, true)), text.is_markup());
}

Result<Value> replaced(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'replace'", {"old", "new", "count"}, 2));
  TRY_ASSIGN(const std::string text, str(machine, subject));
  TRY_ASSIGN(const std::string from, str(machine, given[0]));
  TRY_ASSIGN(const std::string to, str(machine, given[1]));
  const Value count = given[2].is_none() ? Value() : given[2];
  TRY_ASSIGN(const int64_t most, to_integer(count, -1, "replace's count"));
  return replace(machine, Value::text(text), from, to, most);
}

Result<Value> indent(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'indent'", {"width", "first", "blank"}, 0));
  if (subject.is_undefined()) return invalid_argument(subject.undefined_reason());
  if (!subject.is_text())
    return invalid_argument(std::string("filter 'indent' is given ") + subject.type_name() +
                            ", expected str");
  std::string margin;
  if (given[0].is_text()) {
    margin = given[0].as_text();
  } else {
    TRY_ASSIGN(const int64_t width, to_integer(given[0], 4, "indent's width"));
    TRY(machine.fits(width));
    margin.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  TRY_ASSIGN(const bool first, truth(machine, given[1]));
  TRY_ASSIGN(const bool blank, truth(machine, given[2]));
  const std::string whole = subject.as_text() + "\n";
  const auto lines = split_lines(whole, false);
  std::string out = first ? margin : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += "\n";
    if (i > 0 && (blank || !lines[i].empty())) out += margin;
    out += lines[i];
    TRY(machine.fits(static_cast<int64_t>(out.size())));
  }
  return machine.text(std::move(out), subject.is_markup());
}

Result<Value> center(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'center'", {"width"}, 0));
  TRY_ASSIGN(const Value text, soft_text(machine, subject));
  TRY_ASSIGN(const int64_t width, to_integer(given[0], 80, "center's width"));
  const int64_t missing = width - num_code_points(text.as_text());
  if (missing <= 0) return text;
  const int64_t left = missing / 2 + (missing & width & 1);
  return pad(machine, text, left, missing - left, " ");
}

Result<Value> wordcount(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "filter 'wordcount'", {}, 0));
  TRY_ASSIGN(const Value text, soft_text(machine, subject));
  int64_t words = 0;
  bool inside = false;
  for (size_t at = 0; at < text.as_text().size();) {
    const char32_t c = text::next_code_point(text.as_text(), &at);
    const bool word = is_alnum(c) || c == '_';
    if (word && !inside) ++words;
    inside = word;
  }
  return Value::integer(words);
}

Result<Value> format(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const Value text, soft_text(machine, subject));
  if (!arguments.named.empty() && !arguments.positional.empty())
    return invalid_argument("filter 'format' takes arguments by position or by name, not both");
  if (arguments.named.empty())
    return percent_format(machine, text, Value::tuple(arguments.positional));
  Dict named;
  for (const auto& [name, value] : arguments.named) named.append(name, value);
  return percent_format(machine, text, Value::dict(std::move(named)));
}

Result<Value> escape(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "filter 'escape'", {}, 0));
  if (subject.is_markup()) return subject;
  TRY_ASSIGN(const std::string text, str(machine, subject));
  return machine.text(escape_html(text), true);
}

Result<Value> forced_escape(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "filter 'forceescape'", {}, 0));
  TRY_ASSIGN(const std::string text, str(machine, subject));
  return machine.text(escape_html(text), true);
}

Result<Value> safe(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "filter 'safe'", {}, 0));
  TRY_ASSIGN(std::string text, str(machine, subject));
  return machine.text(std::move(text), true);
}

Result<Value> truncate(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given,
             bind(arguments, "filter 'truncate'", {"length", "killwords", "end", "leeway"}, 0));
  TRY_ASSIGN(const int64_t size, length_of(machine, subject));
  TRY_ASSIGN(const int64_t length, to_integer(given[0], 255, "truncate's length"));
  TRY_ASSIGN(const bool kills, truth(machine, given[1]));
  TRY_ASSIGN(const std::string end, to_text(given[2], "...", "truncate's end"));
  const Value tolerance = given[3].is_none() ? Value() : given[3];
  TRY_ASSIGN(const int64_t leeway, to_integer(tolerance, 5, "truncate's leeway"));
  const int64_t kept = length - num_code_points(end);
  if (kept < 0 || leeway < 0)
    return invalid_argument("filter 'truncate' needs a length of at least its end's");
  if (size >= 0 && size - leeway <= length) return subject;
  TRY_ASSIGN(const std::string text, to_text(subject, "", "truncate's subject"));
  size_t cut = byte_of(text, kept);
  if (!kills && cut > 0) cut = std::min(cut, text.rfind(' ', cut - 1));
  return machine.text(text.substr(0, cut).append(end), subject.is_markup());
}

Result<Value> tojson(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'tojson'",
                                    {"ensure_ascii", "indent", "separators", "sort_keys"}, 0));
  JsonLayout layout;
  TRY_ASSIGN(layout.ascii, truth(machine, given[0]));
  TRY_ASSIGN(layout.sorted, truth(machine, given[3]));
  // A string by itself has no layout, and nothing of it is looked at.
  if (subject.is_text()) {
    layout.sorted = false;
  } else if (given[1].is_text()) {
    layout.indent = given[1].as_text();
  } else if (!given[1].is_missing() && !given[1].is_none()) {
    TRY_ASSIGN(const int64_t width, to_integer(given[1], 0, "tojson's indent"));
    TRY(machine.fits(width));
    layout.indent.emplace(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  if (layout.indent.has_value()) layout.between_items.assign(1, ',');
  if (!subject.is_text() && !given[2].is_missing() && !given[2].is_none()) {
    TRY_ASSIGN(const auto separators, items_of(machine, given[2]));
    if (separators.size() != 2 || !separators[0].is_text() || !separators[1].is_text())
      return invalid_argument("tojson's separators have to be two strings");
    layout.between_items = separators[0].as_text();
    layout.behind_key = separators[1].as_text();
  }
  std::string out;
  TRY(append_json(machine, subject, layout, &out));
  return machine.text(std::move(out));
}

}  // namespace

Filter find_text_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, Filter> filters{
      {"capitalize", mapped<capitalize>},
      {"center", center},
      {"e", escape},
      {"escape", escape},
      {"forceescape", forced_escape},
      {"format", format},
      {"indent", indent},
      {"lower", mapped<lower>},
      {"replace", replaced},
      {"safe", safe},
      {"string", string},
      {"title", mapped<title_words>},
      {"tojson", tojson},
      {"trim", trim},
      {"truncate", truncate},
      {"upper", mapped<upper>},
      {"wordcount", wordcount},
  };
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace mimo::chat
