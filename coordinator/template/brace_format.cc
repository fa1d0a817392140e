#include "coordinator/template/attributes.h"
#include "coordinator/template/format.h"
#include "coordinator/template/printing.h"
#include "coordinator/template/unicode.h"

namespace mimo::chat {
namespace {

bool all_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// One run over a str.format format.
class BraceFormatter final {
 public:
  BraceFormatter(Machine& machine, const Arguments& arguments)
      : machine_(machine), arguments_(arguments) {}

  Result<std::string> run(std::string_view format, int32_t depth) {
    if (depth > 2) return invalid_argument("a {} format is nested too deep");
    std::string out;
    for (size_t at = 0; at < format.size();) {
      const char c = format[at++];
      if (c != '{' && c != '}') {
        out.push_back(c);
      } else if (at < format.size() && format[at] == c) {
        out.push_back(c);
        ++at;
      } else if (c == '}') {
        return invalid_argument("a {} format has a single '}'");
      } else {
        TRY_ASSIGN(const std::string_view field, field_at(format, &at));
        TRY_ASSIGN(const std::string shown, replaced(field, depth));
        out += shown;
        TRY(machine_.fits(static_cast<int64_t>(out.size())));
      }
    }
    return out;
  }

 private:
  Result<std::string_view> field_at(std::string_view format, size_t* at) {
    const size_t start = *at;
    int32_t open = 1;
    while (*at < format.size()) {
      if (format[*at] == '{') ++open;
      if (format[*at] == '}' && --open == 0) return format.substr(start, (*at)++ - start);
      ++*at;
    }
    return invalid_argument("a {} format lacks its '}'");
  }

  Result<Value> argument(std::string_view name) {
    if (name.empty() || all_digits(name)) {
      if (name.size() > 9) return invalid_argument("a {} format's index is too large");
      const bool automatic = name.empty();
      if (next_ != 0 && automatic_ != automatic)
        return invalid_argument("a {} format numbers some fields and others not");
      automatic_ = automatic;
      const size_t index = automatic ? next_ : std::stoul(std::string(name));
      ++next_;
      if (index < arguments_.positional.size()) return arguments_.positional[index];
      return invalid_argument("a {} format needs argument " + std::to_string(index));
    }
    for (const auto& [key, value] : arguments_.named) {
      if (key == name) return value;
    }
    return invalid_argument("a {} format needs argument '" + std::string(name) + "'");
  }

  // "name.attribute[item]".
  Result<Value> looked_up(std::string_view field) {
    size_t at = std::min(field.find_first_of(".["), field.size());
    TRY_ASSIGN(Value value, argument(field.substr(0, at)));
    while (at < field.size()) {
      if (field[at] == '.') {
        const size_t end = std::min(field.find_first_of(".[", at + 1), field.size());
        const std::string name(field.substr(at + 1, end - at - 1));
        if (name.empty()) return invalid_argument("a {} format has an empty attribute");
        TRY_ASSIGN(value, get_attribute(machine_, value, name));
        at = end;
      } else if (field[at] == '[') {
        const size_t end = field.find(']', at);
        if (end == std::string_view::npos || end == at + 1)
          return invalid_argument("a {} format has a '[' without an item");
        const std::string key(field.substr(at + 1, end - at - 1));
        const bool index = all_digits(key) && key.size() < 10;
        TRY_ASSIGN(value, get_item(machine_, value,
                                   index ? Value::integer(std::stoll(key)) : Value::text(key)));
        at = end + 1;
      } else {
        return invalid_argument("a {} format has something behind ']'");
      }
    }
    return value;
  }

  Result<std::string> replaced(std::string_view field, int32_t depth) {
    const size_t colon = std::min(field.find(':'), field.size());
    std::string_view name = field.substr(0, std::min(field.find('!'), colon));
    char conversion = 0;
    if (name.size() < colon) {
      if (colon - name.size() != 2) return invalid_argument("a {} format has a bad conversion");
      conversion = field[name.size() + 1];
    }
    TRY_ASSIGN(Value value, looked_up(name));
    if (conversion != 0) {
      if (conversion != 's' && conversion != 'r' && conversion != 'a')
        return invalid_argument(std::string("a {} format has no conversion '") + conversion + "'");
      std::string text;
      TRY(conversion == 's' ? append_str(machine_, value, &text)
                            : append_repr(machine_, value, &text));
      TRY_ASSIGN(value, machine_.text(std::move(text)));
    }
    std::string spec;
    if (colon < field.size()) {
      TRY_ASSIGN(spec, run(field.substr(colon + 1), depth + 1));
    }
    return formatted(value, spec);
  }

  Result<std::string> formatted(const Value& value, std::string_view spec) {
    if (spec.empty()) return str(machine_, value);
    TRY_ASSIGN(const Layout layout, parse_spec(spec, value.is_text()));
    if (value.is_text()) return lay_out_text(machine_, value.as_text(), layout);
    if (value.is_float()) return lay_out_real(machine_, value.as_real(), layout);
    if (value.is_bool() && layout.type == 's')
      return invalid_argument("format code 's' is not for bool");
    if (value.is_integer()) return lay_out_integer(machine_, value.as_integer(), layout);
    return invalid_argument(std::string("a format of ") + value.type_name() +
                            " takes no specification, got '" + std::string(spec) + "'");
  }

  Result<int64_t> digits(std::string_view spec, size_t* at) {
    int64_t number = 0;
    for (; *at < spec.size() && spec[*at] >= '0' && spec[*at] <= '9'; ++*at) {
      number = number * 10 + (spec[*at] - '0');
      TRY(machine_.fits(number));
    }
    return number;
  }

  // [[fill]align][sign][#][0][width][grouping][.precision][type]
  Result<Layout> parse_spec(std::string_view spec, bool text) {
    Layout layout;
    size_t at = 0;
    const auto is = [&](size_t i, std::string_view set) {
      return i < spec.size() && set.find(spec[i]) != std::string_view::npos;
    };
    const size_t first = byte_of(spec, 1);
    if (is(first, "<>=^")) {
      layout.fill = spec.substr(0, first);
      layout.align = spec[first];
      at = first + 1;
    } else if (is(0, "<>=^")) {
      layout.align = spec[at++];
    }
    if (is(at, "+- ")) layout.sign = spec[at++];
    if (is(at, "#")) layout.alternate = spec[at++] == '#';
    if (is(at, "0")) {
      ++at;
      if (layout.align == 0) {
        layout.fill = "0";
        if (!text) layout.align = '=';
      }
    }
    TRY_ASSIGN(layout.width, digits(spec, &at));
    if (is(at, ",_")) layout.group = spec[at++];
    if (is(at, ".")) {
      const size_t start = ++at;
      TRY_ASSIGN(layout.precision, digits(spec, &at));
      if (at == start) return invalid_argument("a format's '.' lacks its digits");
    }
    if (at + 1 == spec.size()) layout.type = spec[at++];
    if (at == spec.size()) return layout;
    return invalid_argument("a format cannot be '" + std::string(spec) + "'");
  }

  Machine& machine_;
  const Arguments& arguments_;
  size_t next_ = 0;
  bool automatic_ = false;
};

}  // namespace

Result<Value> brace_format(Machine& machine, const Value& format, const Arguments& arguments) {
  TRY_ASSIGN(std::string out, BraceFormatter(machine, arguments).run(format.as_text(), 0));
  return machine.text(std::move(out), format.is_markup());
}

}  // namespace mimo::chat
