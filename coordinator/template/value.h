#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace mimo::chat {

class Dict;
class Object;
struct Sequence;

// A string: well-formed UTF-8. `markup`: it came out of `safe` or `escape`, and what is added to it
// is escaped, as in MarkupSafe.
struct Text {
  std::string bytes;
  bool markup = false;
};

// A name or an element that is not there; prints as nothing, any other use fails with `reason`.
struct Undefined {
  std::string reason;
};

// A value of the template language: Python's None, bool, int (64 bits), float, str, list, tuple and
// dict, Jinja's undefined, and objects (functions, iterators, namespaces).
//
// Thread:    values are shared between threads only while nobody changes them: the constants of a
//            parsed template. Those made while rendering belong to that rendering.
// Invariant: lists, tuples and dicts never change once they are in a Value.
class Value {
 public:
  enum class Kind : uint8_t {
    kUndefined,
    kNone,
    kBool,
    kInt,
    kFloat,
    kText,
    kSequence,
    kDict,
    kObject,
  };

  Value() = default;  // undefined, for no reason known: "missing"
  static Value none() { return Value(Data(std::in_place_index<1>)); }
  static Value boolean(bool b) { return Value(Data(std::in_place_index<2>, b)); }
  static Value integer(int64_t i) { return Value(Data(std::in_place_index<3>, i)); }
  static Value real(double d) { return Value(Data(std::in_place_index<4>, d)); }
  static Value text(std::string bytes, bool markup = false);
  static Value undefined(std::string reason);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  // A groupby group: a tuple whose items are also its attributes `grouper` and `list`.
  static Value group(Value grouper, Value list);
  static Value dict(Dict dict);
  static Value object(std::shared_ptr<Object> object);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is_missing() const { return is_undefined() && std::get<0>(data_) == nullptr; }
  bool is_undefined() const { return kind() == Kind::kUndefined; }
  bool is_none() const { return kind() == Kind::kNone; }
  bool is_bool() const { return kind() == Kind::kBool; }
  bool is_text() const { return kind() == Kind::kText; }
  bool is_sequence() const { return kind() == Kind::kSequence; }
  bool is_list() const;
  bool is_tuple() const;
  bool is_dict() const { return kind() == Kind::kDict; }
  bool is_object() const { return kind() == Kind::kObject; }
  bool is_float() const { return kind() == Kind::kFloat; }
  // A bool is an int, as in Python.
  bool is_integer() const { return kind() == Kind::kInt || kind() == Kind::kBool; }
  bool is_number() const { return is_integer() || is_float(); }

  // Each needs its own kind.
  bool as_bool() const { return std::get<2>(data_); }
  int64_t as_integer() const { return is_bool() ? as_bool() : std::get<3>(data_); }
  double as_real() const {
    return is_float() ? std::get<4>(data_) : static_cast<double>(as_integer());
  }
  const std::string& as_text() const { return std::get<5>(data_)->bytes; }
  bool is_markup() const { return is_text() && std::get<5>(data_)->markup; }
  const Sequence& as_sequence() const { return *std::get<6>(data_); }
  const std::vector<Value>& items() const;
  const Dict& as_dict() const { return *std::get<7>(data_); }
  Object& as_object() const { return *std::get<8>(data_); }
  const std::string& undefined_reason() const;

  // The object as a T; null when it is something else.
  template <typename T>
  T* as() const {
    return is_object() ? dynamic_cast<T*>(std::get<8>(data_).get()) : nullptr;
  }

  // How deep lists and dicts are nested in it: 0 for all others.
  int32_t depth() const;
  // The same object, or equal immutable scalars of one kind: Python's `is`, as far as it is
  // defined.
  bool same_as(const Value& other) const;
  // "str", "list" and so on, as Python calls it.
  const char* type_name() const;

 private:
  using Data = std::variant<std::shared_ptr<const Undefined>, std::monostate, bool, int64_t, double,
                            std::shared_ptr<const Text>, std::shared_ptr<const Sequence>,
                            std::shared_ptr<const Dict>, std::shared_ptr<Object>>;
  explicit Value(Data data) : data_(std::move(data)) {}

  Data data_;
};

struct Sequence {
  enum class Kind : uint8_t { kList, kTuple, kGroup };

  std::vector<Value> items;
  Kind kind = Kind::kList;
  int32_t depth = 1;
};

// Keys and values in the order of their first appearance.
//
// Invariant: every key is hashable, and no two are equal (1, 1.0 and True are).
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  // A second value for an equal key takes the first one's place. False: the key is not hashable,
  // and nothing changed.
  bool set(Value key, Value value);
  // For keys known to be new strings.
  void append(std::string key, Value value);

  // Null when there is none, or the key is not hashable.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;

  const std::vector<Entry>& entries() const { return entries_; }
  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  int32_t depth() const { return depth_; }

 private:
  void add(size_t hash, Value key, Value value);
  const Entry* look_up(size_t hash, const Value& key) const;

  std::vector<Entry> entries_;
  // Places by hash, once there are more entries than a look at each would be quick for.
  std::unordered_multimap<size_t, size_t> places_;
  int32_t depth_ = 1;
};

bool is_hashable(const Value& value);

// As Python's == for what can be a key; everything else is the same only when it is the same
// object.
bool equal_keys(const Value& a, const Value& b);

}  // namespace mimo::chat
