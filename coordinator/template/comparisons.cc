// The comparing half of operators.h.
#include <algorithm>
#include <string>

#include "coordinator/template/object.h"
#include "coordinator/template/operators.h"

namespace mimo::chat {
namespace {

Error not_ordered(const Value& a, const Value& b) {
  for (const Value* value : {&a, &b}) {
    if (value->is_undefined()) return invalid_argument(value->undefined_reason());
  }
  return invalid_argument(std::string("cannot order ") + a.type_name() + " and " + b.type_name());
}

// Long double holds every int64 and every double.
long double exact(const Value& number) {
  return number.is_float() ? static_cast<long double>(number.as_real())
                           : static_cast<long double>(number.as_integer());
}

Result<bool> equal_dicts(Machine& machine, const Dict& a, const Dict& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(key);
    if (other == nullptr) return false;
    TRY_ASSIGN(const bool same, equals(machine, value, *other));
    if (!same) return false;
  }
  return true;
}

// Keys and items compare as sets, values by identity alone.
Result<bool> equal_views(Machine& machine, const DictView& a, const DictView& b) {
  if (a.part() != b.part() || a.part() == DictView::Part::kValues) return false;
  if (a.part() == DictView::Part::kItems) return equal_dicts(machine, a.dict(), b.dict());
  if (a.dict().size() != b.dict().size()) return false;
  for (const auto& [key, value] : a.dict().entries()) {
    if (b.dict().find(key) == nullptr) return false;
  }
  return true;
}

Result<bool> equal_objects(Machine& machine, const Value& a, const Value& b) {
  if (a.same_as(b)) return true;
  if (const auto* range = a.as<RangeObject>()) {
    const auto* other = b.as<RangeObject>();
    return other != nullptr && *range == *other;
  }
  if (const auto* view = a.as<DictView>()) {
    const auto* other = b.as<DictView>();
    if (other != nullptr) return equal_views(machine, *view, *other);
  }
  return false;
}

Result<bool> equal_sequences(Machine& machine, const Value& a, const Value& b) {
  if (a.is_list() != b.is_list() || a.items().size() != b.items().size()) return false;
  for (size_t i = 0; i < a.items().size(); ++i) {
    TRY_ASSIGN(const bool same, equals(machine, a.items()[i], b.items()[i]));
    if (!same) return false;
  }
  return true;
}

Result<bool> less_sequences(Machine& machine, const Value& a, const Value& b) {
  const size_t common = std::min(a.items().size(), b.items().size());
  for (size_t i = 0; i < common; ++i) {
    TRY_ASSIGN(const bool same, equals(machine, a.items()[i], b.items()[i]));
    if (!same) return less(machine, a.items()[i], b.items()[i]);
  }
  return a.items().size() < b.items().size();
}

Result<bool> view_contains(Machine& machine, const DictView& view, const Value& item) {
  if (view.part() == DictView::Part::kKeys) {
    if (!is_hashable(item)) return invalid_argument("a list or dict cannot be a key");
    return view.dict().find(item) != nullptr;
  }
  for (size_t i = 0; i < view.dict().entries().size(); ++i) {
    TRY_ASSIGN(const bool same, equals(machine, view.at(i), item));
    if (same) return true;
  }
  return false;
}

// a <= b is not "not b < a" where NaN or an order by parts is concerned, hence both operands.
Result<bool> at_most(Machine& machine, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return exact(a) <= exact(b);
  if (a.is_sequence() && b.is_sequence() && a.is_list() == b.is_list()) {
    TRY_ASSIGN(const bool same, equals(machine, a, b));
    if (same) return true;
    return less(machine, a, b);
  }
  TRY_ASSIGN(const bool greater, less(machine, b, a));
  return !greater;
}

}  // namespace

Result<bool> equals(Machine& machine, const Value& a, const Value& b) {
  if (a.is_text() && b.is_text()) {
    if (a.as_text().size() != b.as_text().size()) return false;
    if (!machine.spend(static_cast<int64_t>(a.as_text().size() / 1024))) return machine.exhausted();
    return a.as_text() == b.as_text();
  }
  if (a.is_number() && b.is_number()) return exact(a) == exact(b);
  if (a.kind() != b.kind()) return false;
  if (!machine.spend(1)) return machine.exhausted();
  switch (a.kind()) {
    case Value::Kind::kSequence:
      return equal_sequences(machine, a, b);
    case Value::Kind::kDict:
      return equal_dicts(machine, a.as_dict(), b.as_dict());
    case Value::Kind::kObject:
      return equal_objects(machine, a, b);
    default:
      return true;  // None and None, undefined and undefined
  }
}

Result<bool> less(Machine& machine, const Value& a, const Value& b) {
  if (!machine.spend(1)) return machine.exhausted();
  if (a.is_number() && b.is_number()) return exact(a) < exact(b);
  if (a.is_text() && b.is_text()) return a.as_text() < b.as_text();
  if (a.is_sequence() && b.is_sequence() && a.is_list() == b.is_list())
    return less_sequences(machine, a, b);
  return not_ordered(a, b);
}

Result<bool> contains(Machine& machine, const Value& container, const Value& item) {
  if (container.is_text()) {
    if (item.is_undefined()) return invalid_argument(item.undefined_reason());
    if (!item.is_text())
      return invalid_argument(std::string(item.type_name()) + " in str: expected str in str");
    if (!machine.spend(static_cast<int64_t>(container.as_text().size() / 64)))
      return machine.exhausted();
    return container.as_text().find(item.as_text()) != std::string::npos;
  }
  if (container.is_dict()) {
    if (!is_hashable(item)) return invalid_argument("a list or dict cannot be a key");
    return container.as_dict().find(item) != nullptr;
  }
  if (const auto* view = container.as<DictView>()) return view_contains(machine, *view, item);
  TRY_ASSIGN(const auto iterator, iterate(container));
  Value each;
  while (true) {
    if (!machine.spend(1)) return machine.exhausted();
    TRY_ASSIGN(const bool more, iterator->next(machine, &each));
    if (!more) return false;
    TRY_ASSIGN(const bool same, equals(machine, each, item));
    if (same) return true;
  }
}

Result<bool> compare(Machine& machine, Operator op, const Value& a, const Value& b) {
  switch (op) {
    case Operator::kEqual:
      return equals(machine, a, b);
    case Operator::kNotEqual: {
      TRY_ASSIGN(const bool same, equals(machine, a, b));
      return !same;
    }
    case Operator::kLess:
      return less(machine, a, b);
    case Operator::kGreater:
      return less(machine, b, a);
    case Operator::kLessEqual:
      return at_most(machine, a, b);
    case Operator::kGreaterEqual:
      return at_most(machine, b, a);
    default: {
      TRY_ASSIGN(const bool found, contains(machine, b, a));
      return found == (op == Operator::kIn);
    }
  }
}

}  // namespace mimo::chat
