// Filters that look at all of a sequence at once.
#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "coordinator/template/attributes.h"
#include "coordinator/template/object.h"
#include "coordinator/template/operators.h"
#include "coordinator/template/printing.h"
#include "coordinator/template/registry.h"
#include "coordinator/template/sorting.h"
#include "coordinator/template/unicode.h"

namespace mimo::chat {
namespace {

using Values = std::vector<Value>;

Value without_case(const Value& value) {
  return value.is_text() ? Value::text(lower(value.as_text())) : value;
}

// What an item is compared by.
Result<Value> key_of(Machine& machine, const Value& item, const Value& attribute,
                     bool case_sensitive, const Value& fallback = Value()) {
  TRY_ASSIGN(Value key, follow_path(machine, item, attribute, fallback));
  return case_sensitive ? key : without_case(key);
}

Result<Value> length(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind_positional(arguments, "filter 'length'", 0, 0));
  TRY_ASSIGN(const int64_t size, length_of(machine, subject));
  if (size < 0)
    return invalid_argument(std::string("filter 'length' is given ") + subject.type_name() +
                            ", which has no length");
  return Value::integer(size);
}

Result<Value> fallback(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given,
             bind(arguments, "filter 'default'", {"default_value", "boolean"}, 0));
  bool replaced = subject.is_undefined();
  if (!replaced) {
    TRY_ASSIGN(const bool strict, truth(machine, given[1]));
    if (strict) {
      TRY_ASSIGN(const bool holds, truth(machine, subject));
      replaced = !holds;
    }
  }
  if (!replaced) return subject;
  return given[0].is_missing() ? Value::text("") : given[0];
}

Result<Value> join(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'join'", {"d", "attribute"}, 0));
  TRY_ASSIGN(const std::string separator, str(machine, given[0]));
  TRY_ASSIGN(const Values items, items_of(machine, subject));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    TRY_ASSIGN(const Value item, follow_path(machine, items[i], given[1], Value()));
    if (i > 0) out += separator;
    TRY(append_str(machine, item, &out));
  }
  return machine.text(std::move(out));
}

Result<Value> first(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "filter 'first'", {}, 0));
  TRY_ASSIGN(const auto iterator, iterate(subject));
  Value item;
  TRY_ASSIGN(const bool there, iterator->next(machine, &item));
  return there ? item : Value::undefined("there is no first item, the sequence is empty");
}

bool has_order(const Value& value) {
  return value.is_undefined() || value.is_text() || value.is_sequence() || value.is_dict() ||
         value.as<RangeObject>() != nullptr || value.as<DictView>() != nullptr;
}

Result<Value> last(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "filter 'last'", {}, 0));
  if (!has_order(subject))
    return invalid_argument(std::string("filter 'last' is given ") + subject.type_name() +
                            ", expected a list, str or the like");
  TRY_ASSIGN(const Values items, items_of(machine, subject));
  return items.empty() ? Value::undefined("there is no last item, the sequence is empty")
                       : items.back();
}

Result<Value> list(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "filter 'list'", {}, 0));
  TRY_ASSIGN(Values items, items_of(machine, subject));
  return machine.list(std::move(items));
}

Result<Value> reverse(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "filter 'reverse'", {}, 0));
  if (subject.is_text()) {
    std::u32string characters = code_points(subject.as_text());
    std::reverse(characters.begin(), characters.end());
    return machine.text(utf8(characters), subject.is_markup());
  }
  TRY_ASSIGN(Values items, items_of(machine, subject));
  std::reverse(items.begin(), items.end());
  TRY_ASSIGN(const Value reversed, machine.list(std::move(items)));
  // What has an order gives an iterator, as Python's reversed() does.
  if (!has_order(subject)) return reversed;
  TRY_ASSIGN(auto iterator, iterate(reversed));
  return machine.object(std::move(iterator));
}

Result<Value> sum(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'sum'", {"attribute", "start"}, 0));
  Value total = given[1].is_missing() ? Value::integer(0) : given[1];
  if (total.is_text()) return invalid_argument("filter 'sum' does not add strings, use join");
  TRY_ASSIGN(const Values items, items_of(machine, subject));
  for (const Value& item : items) {
    TRY_ASSIGN(const Value value, follow_path(machine, item, given[0], Value()));
    TRY_ASSIGN(total, compute(machine, Operator::kAdd, total, value));
  }
  return total;
}

template <bool kLargest>
Result<Value> extreme(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given,
             bind(arguments, "filter 'min' or 'max'", {"case_sensitive", "attribute"}, 0));
  TRY_ASSIGN(const bool sensitive, truth(machine, given[0]));
  TRY_ASSIGN(const Values items, items_of(machine, subject));
  if (items.empty()) return Value::undefined("there is no such item, the sequence is empty");
  Value best = items[0];
  TRY_ASSIGN(Value best_key, key_of(machine, best, given[1], sensitive));
  for (size_t i = 1; i < items.size(); ++i) {
    TRY_ASSIGN(Value key, key_of(machine, items[i], given[1], sensitive));
    TRY_ASSIGN(const bool better,
               kLargest ? less(machine, best_key, key) : less(machine, key, best_key));
    if (!better) continue;
    best = items[i];
    best_key = std::move(key);
  }
  return best;
}

Result<Values> in_order(Machine& machine, const Values& items, const Values& keys, bool reversed) {
  TRY_ASSIGN(const std::vector<size_t> order, sorted_order(machine, keys, reversed));
  Values sorted;
  for (const size_t i : order) sorted.push_back(items[i]);
  return sorted;
}

Result<Value> sort(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given,
             bind(arguments, "filter 'sort'", {"reverse", "case_sensitive", "attribute"}, 0));
  TRY_ASSIGN(const int64_t reversed, to_integer(given[0], 0, "sort's reverse"));
  TRY_ASSIGN(const bool sensitive, truth(machine, given[1]));
  TRY_ASSIGN(const Values items, items_of(machine, subject));
  Values paths{given[2]};
  if (given[2].is_text()) {
    paths.clear();
    const std::string_view all = given[2].as_text();
    for (size_t start = 0; start <= all.size();) {
      const size_t end = std::min(all.find(',', start), all.size());
      paths.push_back(Value::text(std::string(all.substr(start, end - start))));
      start = end + 1;
    }
  }
  Values keys;
  for (const Value& item : items) {
    Values parts;
    for (const Value& path : paths) {
      TRY_ASSIGN(Value part, key_of(machine, item, path, sensitive));
      parts.push_back(std::move(part));
    }
    TRY_ASSIGN(Value key, machine.list(std::move(parts)));
    keys.push_back(std::move(key));
  }
  TRY_ASSIGN(Values sorted, in_order(machine, items, keys, reversed != 0));
  return machine.list(std::move(sorted));
}

Result<Value> dictsort(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given,
             bind(arguments, "filter 'dictsort'", {"case_sensitive", "by", "reverse"}, 0));
  TRY_ASSIGN(const bool sensitive, truth(machine, given[0]));
  TRY_ASSIGN(const std::string by, to_text(given[1], "key", "dictsort's by"));
  TRY_ASSIGN(const int64_t reversed, to_integer(given[2], 0, "dictsort's reverse"));
  if (by != "key" && by != "value")
    return invalid_argument("dictsort's by is '" + by + "', expected key or value");
  if (subject.is_undefined()) return invalid_argument(subject.undefined_reason());
  if (!subject.is_dict())
    return invalid_argument(std::string("filter 'dictsort' is given ") + subject.type_name());
  Values items;
  Values keys;
  for (const auto& [key, value] : subject.as_dict().entries()) {
    TRY_ASSIGN(Value item, machine.tuple({key, value}));
    items.push_back(std::move(item));
    const Value& compared = by == "key" ? key : value;
    keys.push_back(sensitive ? compared : without_case(compared));
  }
  TRY_ASSIGN(Values sorted, in_order(machine, items, keys, reversed != 0));
  return machine.list(std::move(sorted));
}

Result<Value> groupby(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given,
             bind(arguments, "filter 'groupby'", {"attribute", "default", "case_sensitive"}, 1));
  TRY_ASSIGN(const bool sensitive, truth(machine, given[2]));
  TRY_ASSIGN(const Values items, items_of(machine, subject));
  Values keys;
  for (const Value& item : items) {
    TRY_ASSIGN(Value key, key_of(machine, item, given[0], sensitive, given[1]));
    keys.push_back(std::move(key));
  }
  TRY_ASSIGN(const std::vector<size_t> order, sorted_order(machine, keys, false));
  Values groups;
  for (size_t start = 0; start < order.size();) {
    Values members;
    size_t end = start;
    for (; end < order.size(); ++end) {
      TRY_ASSIGN(const bool same, equals(machine, keys[order[end]], keys[order[start]]));
      if (!same) break;
      members.push_back(items[order[end]]);
    }
    TRY_ASSIGN(Value name, follow_path(machine, items[order[start]], given[0], given[1]));
    TRY_ASSIGN(Value all, machine.list(std::move(members)));
    groups.push_back(Value::group(std::move(name), std::move(all)));
    start = end;
  }
  return machine.list(std::move(groups));
}

Result<Value> attribute(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'attr'", {"name"}, 1));
  TRY_ASSIGN(const std::string name, to_text(given[0], "", "attr's name"));
  if (subject.is_undefined() || name.empty())
    return invalid_argument("filter 'attr' needs a defined value and a name");
  TRY_ASSIGN(Value found, find_attribute(machine, subject, name));
  return found.is_missing() ? Value::undefined("there is no attribute '" + name + "'") : found;
}

}  // namespace

Filter find_sequence_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, Filter> filters{
      {"attr", attribute},     {"count", length},    {"d", fallback},      {"default", fallback},
      {"dictsort", dictsort},  {"first", first},     {"groupby", groupby}, {"join", join},
      {"last", last},          {"length", length},   {"list", list},       {"max", extreme<true>},
      {"min", extreme<false>}, {"reverse", reverse}, {"sort", sort},       {"sum", sum},
  };
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace mimo::chat
