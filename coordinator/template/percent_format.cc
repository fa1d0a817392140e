#include <algorithm>
#include <cmath>

#include "coordinator/template/format.h"
#include "coordinator/template/object.h"
#include "coordinator/template/printing.h"
#include "coordinator/template/unicode.h"

namespace mimo::chat {
namespace {

// One run over a printf-like format.
class PercentFormatter final {
 public:
  PercentFormatter(Machine& machine, std::string_view format, const Value& values, bool markup)
      : machine_(machine), format_(format), values_(values), markup_(markup) {
    // Lists count as mappings here, as they do in Python: what they hold may stay unused.
    mapping_ = values.is_dict() || values.is_list() || values.is_undefined() ||
               values.as<RangeObject>() != nullptr;
  }

  Result<std::string> run() {
    while (at_ < format_.size()) {
      const char c = format_[at_++];
      if (c != '%') {
        out_.push_back(c);
      } else {
        TRY(conversion());
        TRY(machine_.fits(static_cast<int64_t>(out_.size())));
      }
    }
    const bool left = values_.is_tuple() ? used_ < values_.items().size() : used_ == 0;
    if (left && !mapping_) return invalid_argument("not all arguments of a % format are used");
    return std::move(out_);
  }

 private:
  Result<Value> next_value() {
    if (values_.is_tuple()) {
      if (used_ < values_.items().size()) return values_.items()[used_++];
    } else if (used_++ == 0) {
      return values_;
    }
    return invalid_argument("not enough arguments for a % format");
  }

  // %(name): picks the value out of the mapping.
  Result<void> key(Value* value) {
    if (at_ >= format_.size() || format_[at_] != '(') return {};
    if (!values_.is_dict()) return invalid_argument("a %(name) format needs a dict");
    int32_t open = 1;
    const size_t start = ++at_;
    while (at_ < format_.size() && open > 0) {
      if (format_[at_] == '(') ++open;
      if (format_[at_] == ')') --open;
      ++at_;
    }
    if (open > 0) return invalid_argument("a %(name) format lacks its ')'");
    const std::string_view name = format_.substr(start, at_ - start - 1);
    const Value* found = values_.as_dict().find(name);
    if (found == nullptr)
      return invalid_argument("a % format names '" + std::string(name) + "', which is not there");
    *value = *found;
    return {};
  }

  Result<int64_t> number() {
    if (at_ < format_.size() && format_[at_] == '*') {
      ++at_;
      TRY_ASSIGN(const Value value, next_value());
      return to_integer(value, 0, "the width of a % format");
    }
    int64_t result = 0;
    while (at_ < format_.size() && format_[at_] >= '0' && format_[at_] <= '9') {
      result = result * 10 + (format_[at_++] - '0');
      TRY(machine_.fits(result));
    }
    return result;
  }

  Result<void> flags(Layout* layout) {
    for (; at_ < format_.size(); ++at_) {
      const char c = format_[at_];
      if (c == '-') {
        layout->align = '<';
      } else if (c == '+' || (c == ' ' && layout->sign == '-')) {
        layout->sign = c;
      } else if (c == '#') {
        layout->alternate = true;
      } else if (c == '0') {
        zero_ = true;
      } else if (c != ' ') {
        break;
      }
    }
    return {};
  }

  Result<void> conversion() {
    Value value;
    zero_ = false;
    Layout layout;
    TRY(key(&value));
    TRY(flags(&layout));
    TRY_ASSIGN(layout.width, number());
    if (layout.width < 0) {
      layout.align = '<';
      layout.width = -layout.width;
    }
    if (at_ < format_.size() && format_[at_] == '.') {
      ++at_;
      TRY_ASSIGN(layout.precision, number());
      layout.precision = std::max<int64_t>(layout.precision, 0);
    }
    while (at_ < format_.size() &&
           (format_[at_] == 'l' || format_[at_] == 'h' || format_[at_] == 'L'))
      ++at_;
    if (at_ >= format_.size()) return invalid_argument("a % format ends in its middle");
    layout.type = format_[at_++];
    if (layout.type == '%') {
      out_.push_back('%');
      return {};
    }
    if (value.is_missing()) {
      TRY_ASSIGN(value, next_value());
    }
    return laid_out(value, layout);
  }

  Result<void> laid_out(const Value& value, Layout layout) {
    std::string text;
    switch (layout.type) {
      case 's':
        TRY(append_str(machine_, value, &text));
        break;
      case 'r':
      case 'a':
        TRY(append_repr(machine_, value, &text));
        break;
      case 'c':
        if (!value.is_text()) return integer(value, layout);
        if (num_code_points(value.as_text()) != 1)
          return invalid_argument("%c is a longer str, expected one character");
        text = value.as_text();
        layout.precision = -1;
        break;
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        return real(value, layout);
      default:
        return integer(value, layout);
    }
    if (markup_ && !value.is_markup()) text = escape_html(text);
    layout.type = 's';
    layout.sign = '-';
    layout.alternate = false;
    if (layout.align == 0) layout.align = '>';
    TRY_ASSIGN(const std::string shown, lay_out_text(machine_, text, layout));
    out_ += shown;
    return {};
  }

  Result<void> real(const Value& value, Layout layout) {
    if (value.is_undefined()) return invalid_argument(value.undefined_reason());
    if (!value.is_number())
      return invalid_argument(std::string("a % format of ") + value.type_name() +
                              " as a number: expected int or float");
    if (zero_ && layout.align == 0) {
      layout.align = '=';
      layout.fill = "0";
    }
    TRY_ASSIGN(const std::string shown, lay_out_real(machine_, value.as_real(), layout));
    out_ += shown;
    return {};
  }

  Result<void> integer(const Value& value, Layout layout) {
    const char type = layout.type;
    const bool decimal = type == 'd' || type == 'i' || type == 'u';
    if (!decimal && type != 'x' && type != 'X' && type != 'o' && type != 'c')
      return invalid_argument(std::string("a % format has no type '") + type + "'");
    if (value.is_undefined()) return invalid_argument(value.undefined_reason());
    const bool whole = decimal && value.is_float() && std::fabs(value.as_real()) < 9e18;
    if (!value.is_integer() && !whole)
      return invalid_argument(std::string("a %") + type + " format of " + value.type_name() +
                              ": expected int");
    const int64_t number = whole ? static_cast<int64_t>(value.as_real()) : value.as_integer();
    if (decimal) layout.type = 'd';
    // A precision is the least number of digits.
    if (layout.precision >= 0 && type != 'c') {
      Layout digits;
      digits.type = layout.type;
      digits.sign = layout.sign;
      digits.alternate = layout.alternate;
      digits.align = '=';
      digits.fill = "0";
      const bool signed_number = number < 0 || layout.sign != '-';
      const bool prefixed = layout.alternate && !decimal;
      digits.width = layout.precision + (signed_number ? 1 : 0) + (prefixed ? 2 : 0);
      TRY_ASSIGN(const std::string text, lay_out_integer(machine_, number, digits));
      Layout around;
      around.width = layout.width;
      around.align = layout.align == 0 ? '>' : layout.align;
      TRY_ASSIGN(const std::string shown, lay_out_text(machine_, text, around));
      out_ += shown;
      return {};
    }
    layout.precision = -1;
    if (zero_ && layout.align == 0 && type != 'c') {
      layout.align = '=';
      layout.fill = "0";
    }
    TRY_ASSIGN(const std::string shown, lay_out_integer(machine_, number, layout));
    out_ += shown;
    return {};
  }

  Machine& machine_;
  std::string_view format_;
  const Value& values_;
  bool markup_;
  bool mapping_ = false;
  bool zero_ = false;
  size_t at_ = 0;
  size_t used_ = 0;
  std::string out_;
};

}  // namespace

Result<Value> percent_format(Machine& machine, const Value& format, const Value& values) {
  PercentFormatter formatter(machine, format.as_text(), values, format.is_markup());
  TRY_ASSIGN(std::string out, formatter.run());
  return machine.text(std::move(out), format.is_markup());
}

}  // namespace mimo::chat
