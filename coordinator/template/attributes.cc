#include "coordinator/template/attributes.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "coordinator/template/methods.h"
#include "coordinator/template/object.h"
#include "coordinator/template/unicode.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

Value no_attribute(const Value& value, std::string_view name) {
  return Value::undefined(std::string("'") + value.type_name() + "' has no attribute '" +
                          std::string(name) + "'");
}

Value forbidden(const Value& value, std::string_view name) {
  return Value::undefined("'" + std::string(name) + "' of " + value.type_name() +
                          " is not for templates");
}

Value bound(const Value& self, Method method) {
  return make_object<Function>(
      "builtin_function_or_method",
      [self, method](Machine& machine, const Arguments& arguments) {
        return method(machine, self, arguments);
      },
      self.depth() + 1);
}

// The element of list, tuple, str or range; missing when it is out of range or cannot be indexed.
Value element(const Value& value, int64_t index) {
  if (value.is_sequence()) {
    const auto size = static_cast<int64_t>(value.items().size());
    if (index < 0) index += size;
    return index >= 0 && index < size ? value.items()[static_cast<size_t>(index)] : Value();
  }
  if (value.is_text()) {
    const std::string& bytes = value.as_text();
    if (index < 0) index += num_code_points(bytes);
    if (index < 0) return Value();
    const size_t start = byte_of(bytes, index);
    if (start >= bytes.size()) return Value();
    size_t end = start;
    text::next_code_point(bytes, &end);
    return Value::text(bytes.substr(start, end - start), value.is_markup());
  }
  if (const auto* range = value.as<RangeObject>()) {
    if (index < 0) index += range->size();
    if (index >= 0 && index < range->size()) return Value::integer(range->at(index));
  }
  return Value();
}

Result<Value> bound_of_slice(const Value& value) {
  if (value.is_missing() || value.is_none()) return Value();
  if (value.is_integer()) return value;
  return invalid_argument(std::string("a slice's bound is ") + value.type_name() +
                          ", expected int or None");
}

// Where a slice starts and how many elements it has, as Python's slice.indices.
struct Stretch {
  int64_t start = 0;
  int64_t step = 1;
  int64_t count = 0;
};

int64_t clamped(const Value& bound, int64_t fallback, int64_t size, bool backwards) {
  if (bound.is_missing()) return fallback;
  int64_t at = bound.as_integer();
  if (at < 0) at = at < -size ? -1 : at + size;
  return std::clamp<int64_t>(at, backwards ? -1 : 0, backwards ? size - 1 : size);
}

Result<Stretch> stretch(int64_t size, const Value& start, const Value& stop, const Value& step) {
  TRY_ASSIGN(const Value first, bound_of_slice(start));
  TRY_ASSIGN(const Value last, bound_of_slice(stop));
  TRY_ASSIGN(const Value stride, bound_of_slice(step));
  Stretch result;
  result.step = stride.is_missing() ? 1 : stride.as_integer();
  if (result.step == 0) return invalid_argument("a slice's step is 0");
  const bool backwards = result.step < 0;
  result.step = std::max(result.step, -std::numeric_limits<int64_t>::max());
  result.start = clamped(first, backwards ? size - 1 : 0, size, backwards);
  const int64_t end = clamped(last, backwards ? -1 : size, size, backwards);
  const int64_t distance = backwards ? result.start - end : end - result.start;
  const int64_t stride_length = backwards ? -result.step : result.step;
  result.count = distance > 0 ? (distance - 1) / stride_length + 1 : 0;
  return result;
}

Result<Value> slice_text(Machine& machine, const Value& value, const Stretch& s) {
  const std::string& bytes = value.as_text();
  if (!machine.spend(static_cast<int64_t>(bytes.size() / 64))) return machine.exhausted();
  if (s.step == 1) {
    const size_t first = byte_of(bytes, s.start);
    const size_t length = byte_of(std::string_view(bytes).substr(first), s.count);
    return machine.text(bytes.substr(first, length), value.is_markup());
  }
  const std::u32string characters = code_points(bytes);
  std::u32string chosen;
  for (int64_t i = 0; i < s.count; ++i)
    chosen.push_back(characters[static_cast<size_t>(s.start + i * s.step)]);
  return machine.text(utf8(chosen), value.is_markup());
}

// True: `part` is a number, and `*index` is it.
bool is_index(std::string_view part, int64_t* index) {
  if (part.empty() || part.size() > 18) return false;
  *index = 0;
  for (const char c : part) {
    if (c < '0' || c > '9') return false;
    *index = *index * 10 + (c - '0');
  }
  return true;
}

}  // namespace

Result<Value> find_attribute(Machine& machine, const Value& value, std::string_view name) {
  if (value.is_object()) {
    Value found;
    TRY_ASSIGN(const bool there, value.as_object().attribute(machine, name, &found));
    if (!there) return Value();
    return name.front() == '_' ? forbidden(value, name) : found;
  }
  Method method = nullptr;
  bool hidden = false;
  switch (value.kind()) {
    case Value::Kind::kText:
      method = find_text_method(name);
      break;
    case Value::Kind::kDict:
      method = find_dict_method(name);
      hidden = is_forbidden_dict_attribute(name);
      break;
    case Value::Kind::kSequence:
      if (value.as_sequence().kind == Sequence::Kind::kGroup) {
        if (name == "grouper") return value.items()[0];
        if (name == "list") return value.items()[1];
      }
      method = find_sequence_method(name, value.is_list());
      hidden = value.is_list() && is_forbidden_list_attribute(name);
      break;
    case Value::Kind::kInt:
    case Value::Kind::kBool:
      if (name == "real" || name == "numerator") return Value::integer(value.as_integer());
      if (name == "imag") return Value::integer(0);
      if (name == "denominator") return Value::integer(1);
      break;
    case Value::Kind::kFloat:
      if (name == "real") return value;
      if (name == "imag") return Value::real(0);
      break;
    default:
      break;
  }
  if (method != nullptr) return bound(value, method);
  return hidden ? forbidden(value, name) : Value();
}

Result<Value> get_attribute(Machine& machine, const Value& value, const std::string& name) {
  if (value.is_undefined()) return invalid_argument(value.undefined_reason());
  TRY_ASSIGN(Value found, find_attribute(machine, value, name));
  if (!found.is_missing()) return found;
  if (value.is_dict()) {
    if (const Value* item = value.as_dict().find(std::string_view(name))) return *item;
  }
  return no_attribute(value, name);
}

Result<Value> get_item(Machine& machine, const Value& value, const Value& key) {
  if (value.is_undefined()) return invalid_argument(value.undefined_reason());
  if (value.is_dict()) {
    if (const Value* item = value.as_dict().find(key)) return *item;
  } else if (key.is_integer()) {
    if (value.is_text() && !machine.spend(static_cast<int64_t>(value.as_text().size() / 64)))
      return machine.exhausted();
    Value found = element(value, key.as_integer());
    if (!found.is_missing()) return found;
  }
  if (key.is_text() && !key.as_text().empty()) {
    TRY_ASSIGN(Value found, find_attribute(machine, value, key.as_text()));
    return found.is_missing() ? no_attribute(value, key.as_text()) : found;
  }
  return Value::undefined(std::string("'") + value.type_name() + "' has no such element");
}

Result<Value> get_slice(Machine& machine, const Value& value, const Value& start, const Value& stop,
                        const Value& step) {
  if (value.is_undefined()) return invalid_argument(value.undefined_reason());
  const auto* range = value.as<RangeObject>();
  if (!value.is_text() && !value.is_sequence() && range == nullptr)
    return invalid_argument(std::string("a slice of ") + value.type_name() +
                            ", expected str, list, tuple or range");
  TRY_ASSIGN(const int64_t size, length_of(machine, value));
  TRY_ASSIGN(const Stretch s, stretch(size, start, stop, step));
  if (value.is_text()) return slice_text(machine, value, s);
  if (range != nullptr) {
    const int64_t first = range->at(s.start);
    const int64_t stride = range->step() * s.step;
    return make_object<RangeObject>(first, first + stride * s.count, stride);
  }
  std::vector<Value> items;
  for (int64_t i = 0; i < s.count; ++i)
    items.push_back(value.items()[static_cast<size_t>(s.start + i * s.step)]);
  return value.is_list() ? machine.list(std::move(items)) : machine.tuple(std::move(items));
}

Result<Value> follow_path(Machine& machine, Value value, const Value& path, const Value& fallback) {
  if (path.is_missing() || path.is_none()) return value;
  const bool has_fallback = !fallback.is_missing() && !fallback.is_none();
  if (!path.is_text()) {
    TRY_ASSIGN(value, get_item(machine, value, path));
    return has_fallback && value.is_undefined() ? fallback : value;
  }
  const std::string_view parts = path.as_text();
  for (size_t start = 0; start <= parts.size();) {
    const size_t end = std::min(parts.find('.', start), parts.size());
    const std::string_view part = parts.substr(start, end - start);
    int64_t index = 0;
    const Value key =
        is_index(part, &index) ? Value::integer(index) : Value::text(std::string(part));
    TRY_ASSIGN(value, get_item(machine, value, key));
    if (has_fallback && value.is_undefined()) value = fallback;
    start = end + 1;
  }
  return value;
}

}  // namespace mimo::chat
