#include "coordinator/template/to_json.h"

#include <cmath>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/template/object.h"
#include "coordinator/template/printing.h"
#include "coordinator/template/sorting.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

class JsonWriter final {
 public:
  JsonWriter(Machine& machine, const JsonLayout& layout, std::string* out)
      : machine_(machine), layout_(layout), out_(*out) {}

  Result<void> write(const Value& value) {
    if (!machine_.spend(1)) return machine_.exhausted();
    switch (value.kind()) {
      case Value::Kind::kNone:
        out_ += "null";
        break;
      case Value::Kind::kBool:
        out_ += value.as_bool() ? "true" : "false";
        break;
      case Value::Kind::kInt:
        out_ += std::to_string(value.as_integer());
        break;
      case Value::Kind::kFloat:
        out_ += number(value.as_real());
        break;
      case Value::Kind::kText:
        string(value.as_text());
        break;
      case Value::Kind::kSequence:
        TRY(list(value.items()));
        break;
      case Value::Kind::kDict:
        TRY(object(value.as_dict()));
        break;
      default:
        if (const auto* whole = value.as<WholeDigits>()) {
          out_ += whole->digits();
          break;
        }
        if (value.is_undefined()) return invalid_argument(value.undefined_reason());
        return invalid_argument(std::string("tojson is given a ") + value.type_name());
    }
    return machine_.fits(static_cast<int64_t>(out_.size()));
  }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_repr(value);
  }

  void escape(char32_t unit) {
    char buffer[16];
    std::snprintf(buffer, sizeof buffer, "\\u%04x", static_cast<unsigned>(unit));
    out_ += buffer;
  }

  void string(std::string_view text) {
    constexpr std::string_view kSigns = "\"\\\n\r\t\f\b";
    constexpr std::string_view kLetters = "\"\\nrtfb";
    out_.push_back('"');
    for (size_t at = 0; at < text.size();) {
      const size_t start = at;
      const char32_t c = text::next_code_point(text, &at);
      const size_t known = c < 0x80 ? kSigns.find(static_cast<char>(c)) : std::string_view::npos;
      if (known != std::string_view::npos) {
        out_.push_back('\\');
        out_.push_back(kLetters[known]);
      } else if (c < 0x20 || (layout_.ascii && c >= 0x7f && c < 0x10000)) {
        escape(c);
      } else if (layout_.ascii && c >= 0x10000) {
        escape(0xd800 + ((c - 0x10000) >> 10));
        escape(0xdc00 + ((c - 0x10000) & 0x3ff));
      } else {
        out_ += text.substr(start, at - start);
      }
    }
    out_.push_back('"');
  }

  Result<void> line_break() {
    if (!layout_.indent.has_value()) return {};
    out_.push_back('\n');
    for (int32_t i = 0; i < level_; ++i) out_ += *layout_.indent;
    return machine_.fits(static_cast<int64_t>(out_.size()));
  }

  Result<void> list(const std::vector<Value>& items) {
    out_.push_back('[');
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += layout_.between_items;
      TRY(line_break());
      TRY(write(items[i]));
    }
    --level_;
    if (!items.empty()) TRY(line_break());
    out_.push_back(']');
    return {};
  }

  Result<void> key(const Value& key) {
    std::string text;
    if (key.is_text()) {
      text = key.as_text();
    } else if (key.is_none()) {
      text = "null";
    } else if (key.is_bool()) {
      text = key.as_bool() ? "true" : "false";
    } else if (key.is_integer()) {
      text = std::to_string(key.as_integer());
    } else if (key.is_float()) {
      text = number(key.as_real());
    } else {
      return invalid_argument(std::string("tojson is given a key that is ") + key.type_name());
    }
    string(text);
    return {};
  }

  Result<void> object(const Dict& dict) {
    std::vector<Dict::Entry> entries = dict.entries();
    if (layout_.sorted) {
      std::vector<Value> keys;
      for (const auto& [name, value] : entries) keys.push_back(name);
      TRY_ASSIGN(const std::vector<size_t> order, sorted_order(machine_, keys, false));
      for (size_t i = 0; i < order.size(); ++i) entries[i] = dict.entries()[order[i]];
    }
    out_.push_back('{');
    ++level_;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += layout_.between_items;
      TRY(line_break());
      TRY(key(entries[i].first));
      out_ += layout_.behind_key;
      TRY(write(entries[i].second));
    }
    --level_;
    if (!entries.empty()) TRY(line_break());
    out_.push_back('}');
    return {};
  }

  Machine& machine_;
  const JsonLayout& layout_;
  std::string& out_;
  int32_t level_ = 0;
};

}  // namespace

Result<void> append_json(Machine& machine, const Value& value, const JsonLayout& layout,
                         std::string* out) {
  return JsonWriter(machine, layout, out).write(value);
}

}  // namespace mimo::chat
