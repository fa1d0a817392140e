#include "coordinator/template/value.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "coordinator/template/object.h"

namespace mimo::chat {
namespace {

// Up to here a look at each entry is quicker than a table.
constexpr size_t kLinearEntries = 12;

constexpr const char* kKindNames[] = {"Undefined", "NoneType", "bool", "int",   "float",
                                      "str",       "list",     "dict", "object"};

size_t hash_text(std::string_view text) { return std::hash<std::string_view>()(text); }

size_t hash_of(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kBool:
    case Value::Kind::kInt:
      return std::hash<double>()(static_cast<double>(value.as_integer()));
    case Value::Kind::kFloat:
      return std::hash<double>()(value.as_real());
    case Value::Kind::kText:
      return hash_text(value.as_text());
    case Value::Kind::kSequence: {
      size_t hash = 17;
      for (const Value& item : value.items()) hash = hash * 31 + hash_of(item);
      return hash;
    }
    default:
      return static_cast<size_t>(value.kind());
  }
}

Value make_sequence(std::vector<Value> items, Sequence::Kind kind,
                    Value (*wrap)(std::shared_ptr<const Sequence>)) {
  auto sequence = std::make_shared<Sequence>();
  for (const Value& item : items) sequence->depth = std::max(sequence->depth, item.depth() + 1);
  sequence->items = std::move(items);
  sequence->kind = kind;
  return wrap(std::move(sequence));
}

}  // namespace

Value Value::text(std::string bytes, bool markup) {
  return Value(Data(std::make_shared<const Text>(Text{std::move(bytes), markup})));
}

Value Value::undefined(std::string reason) {
  return Value(Data(std::make_shared<const Undefined>(Undefined{std::move(reason)})));
}

Value Value::list(std::vector<Value> items) {
  return make_sequence(std::move(items), Sequence::Kind::kList,
                       [](std::shared_ptr<const Sequence> s) { return Value(Data(std::move(s))); });
}

Value Value::tuple(std::vector<Value> items) {
  return make_sequence(std::move(items), Sequence::Kind::kTuple,
                       [](std::shared_ptr<const Sequence> s) { return Value(Data(std::move(s))); });
}

Value Value::group(Value grouper, Value list) {
  return make_sequence({std::move(grouper), std::move(list)}, Sequence::Kind::kGroup,
                       [](std::shared_ptr<const Sequence> s) { return Value(Data(std::move(s))); });
}

Value Value::dict(Dict dict) { return Value(Data(std::make_shared<const Dict>(std::move(dict)))); }

Value Value::object(std::shared_ptr<Object> object) { return Value(Data(std::move(object))); }

bool Value::is_list() const { return is_sequence() && as_sequence().kind == Sequence::Kind::kList; }

bool Value::is_tuple() const {
  return is_sequence() && as_sequence().kind != Sequence::Kind::kList;
}

const std::vector<Value>& Value::items() const { return as_sequence().items; }

const std::string& Value::undefined_reason() const {
  static const std::string unknown = "a value is undefined";
  return is_missing() ? unknown : std::get<0>(data_)->reason;
}

int32_t Value::depth() const {
  if (is_sequence()) return as_sequence().depth;
  if (is_dict()) return as_dict().depth();
  return is_object() ? as_object().depth() : 0;
}

bool Value::same_as(const Value& other) const {
  if (kind() != other.kind()) return false;
  switch (kind()) {
    case Kind::kText:
      return std::get<5>(data_) == std::get<5>(other.data_) ||
             (as_text() == other.as_text() && is_markup() == other.is_markup());
    case Kind::kUndefined:
      return std::get<0>(data_) == std::get<0>(other.data_);
    default:
      return data_ == other.data_;
  }
}

const char* Value::type_name() const {
  if (is_tuple()) return "tuple";
  return is_object() ? as_object().type_name() : kKindNames[static_cast<size_t>(kind())];
}

bool is_hashable(const Value& value) {
  if (value.is_list() || value.is_dict()) return false;
  if (!value.is_sequence()) return true;
  return std::all_of(value.items().begin(), value.items().end(), is_hashable);
}

bool equal_keys(const Value& a, const Value& b) {
  if (a.is_text() || b.is_text()) {
    return a.is_text() && b.is_text() && a.as_text() == b.as_text();
  }
  if (a.is_integer() && b.is_integer()) return a.as_integer() == b.as_integer();
  if (a.is_number() && b.is_number()) return a.as_real() == b.as_real();
  if (a.is_tuple() && b.is_tuple()) {
    return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                      equal_keys);
  }
  return (a.is_undefined() && b.is_undefined()) || a.same_as(b);
}

bool Dict::set(Value key, Value value) {
  if (!is_hashable(key)) return false;
  const size_t hash = hash_of(key);
  if (const Entry* entry = look_up(hash, key)) {
    depth_ = std::max(depth_, value.depth() + 1);
    entries_[static_cast<size_t>(entry - entries_.data())].second = std::move(value);
  } else {
    add(hash, std::move(key), std::move(value));
  }
  return true;
}

void Dict::append(std::string key, Value value) {
  const size_t hash = hash_text(key);
  add(hash, Value::text(std::move(key)), std::move(value));
}

void Dict::add(size_t hash, Value key, Value value) {
  depth_ = std::max({depth_, value.depth() + 1, key.depth() + 1});
  entries_.emplace_back(std::move(key), std::move(value));
  if (!places_.empty()) {
    places_.emplace(hash, entries_.size() - 1);
  } else if (entries_.size() > kLinearEntries) {
    for (size_t i = 0; i < entries_.size(); ++i) places_.emplace(hash_of(entries_[i].first), i);
  }
}

const Dict::Entry* Dict::look_up(size_t hash, const Value& key) const {
  if (places_.empty()) {
    for (const Entry& entry : entries_) {
      if (equal_keys(entry.first, key)) return &entry;
    }
    return nullptr;
  }
  const auto [first, last] = places_.equal_range(hash);
  for (auto it = first; it != last; ++it) {
    if (equal_keys(entries_[it->second].first, key)) return &entries_[it->second];
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (!is_hashable(key)) return nullptr;
  const Entry* entry = look_up(places_.empty() ? 0 : hash_of(key), key);
  return entry == nullptr ? nullptr : &entry->second;
}

const Value* Dict::find(std::string_view key) const {
  if (places_.empty()) {
    for (const Entry& entry : entries_) {
      if (entry.first.is_text() && entry.first.as_text() == key) return &entry.second;
    }
    return nullptr;
  }
  const auto [first, last] = places_.equal_range(hash_text(key));
  for (auto it = first; it != last; ++it) {
    const Entry& entry = entries_[it->second];
    if (entry.first.is_text() && entry.first.as_text() == key) return &entry.second;
  }
  return nullptr;
}

}  // namespace mimo::chat
