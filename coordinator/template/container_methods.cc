// The methods of list, tuple and dict.
#include <algorithm>
#include <array>
#include <string>

#include "coordinator/template/methods.h"
#include "coordinator/template/object.h"
#include "coordinator/template/operators.h"

namespace mimo::chat {
namespace {

struct Named {
  std::string_view name;
  Method method;
};

Result<Value> sequence_count(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "count()", 1, 1));
  int64_t count = 0;
  for (const Value& item : self.items()) {
    if (!machine.spend(1)) return machine.exhausted();
    TRY_ASSIGN(const bool same, equals(machine, item, given[0]));
    if (same) ++count;
  }
  return Value::integer(count);
}

Result<Value> sequence_index(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "index()", 1, 3));
  const auto size = static_cast<int64_t>(self.items().size());
  TRY_ASSIGN(int64_t start, to_integer(given[1], 0, "index()'s start"));
  TRY_ASSIGN(int64_t stop, to_integer(given[2], size, "index()'s stop"));
  start = start < 0 ? std::max<int64_t>(start + size, 0) : start;
  stop = stop < 0 ? stop + size : std::min(stop, size);
  for (int64_t i = start; i < stop; ++i) {
    if (!machine.spend(1)) return machine.exhausted();
    TRY_ASSIGN(const bool same, equals(machine, self.items()[static_cast<size_t>(i)], given[0]));
    if (same) return Value::integer(i);
  }
  return invalid_argument("index() finds no such item");
}

Result<Value> list_copy(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY(bind_positional(arguments, "copy()", 0, 0));
  return machine.list(self.items());
}

template <DictView::Part kPart>
Result<Value> dict_view(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY(bind_positional(arguments, "a dict's view", 0, 0));
  return machine.object(std::make_shared<DictView>(self, kPart));
}

Result<Value> dict_get(Machine&, const Value& self, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind_positional(arguments, "get()", 1, 2));
  if (!is_hashable(given[0])) return invalid_argument("a list or dict cannot be a key");
  if (const Value* found = self.as_dict().find(given[0])) return *found;
  return arguments.positional.size() < 2 ? Value::none() : given[1];
}

Result<Value> dict_copy(Machine& machine, const Value& self, const Arguments& arguments) {
  TRY(bind_positional(arguments, "copy()", 0, 0));
  return machine.dict(self.as_dict());
}

constexpr std::array<Named, 3> kListMethods{{
    {"copy", list_copy},
    {"count", sequence_count},
    {"index", sequence_index},
}};

constexpr std::array<Named, 5> kDictMethods{{
    {"copy", dict_copy},
    {"get", dict_get},
    {"items", dict_view<DictView::Part::kItems>},
    {"keys", dict_view<DictView::Part::kKeys>},
    {"values", dict_view<DictView::Part::kValues>},
}};

// What Python's list and dict have besides, and what every object of theirs has.
constexpr std::array<std::string_view, 8> kListForbidden{"append", "clear",  "extend",  "insert",
                                                         "pop",    "remove", "reverse", "sort"};
constexpr std::array<std::string_view, 6> kDictForbidden{"clear",   "fromkeys",   "pop",
                                                         "popitem", "setdefault", "update"};
constexpr std::array<std::string_view, 38> kInternal{"__class__",
                                                     "__class_getitem__",
                                                     "__contains__",
                                                     "__delattr__",
                                                     "__delitem__",
                                                     "__dir__",
                                                     "__doc__",
                                                     "__eq__",
                                                     "__format__",
                                                     "__ge__",
                                                     "__getattribute__",
                                                     "__getitem__",
                                                     "__getstate__",
                                                     "__gt__",
                                                     "__hash__",
                                                     "__init__",
                                                     "__init_subclass__",
                                                     "__ior__",
                                                     "__iter__",
                                                     "__le__",
                                                     "__len__",
                                                     "__lt__",
                                                     "__ne__",
                                                     "__new__",
                                                     "__or__",
                                                     "__reduce__",
                                                     "__reduce_ex__",
                                                     "__repr__",
                                                     "__reversed__",
                                                     "__ror__",
                                                     "__setattr__",
                                                     "__setitem__",
                                                     "__sizeof__",
                                                     "__str__",
                                                     "__subclasshook__",
                                                     "__add__",
                                                     "__mul__",
                                                     "__rmul__"};

template <typename Names>
bool is_among(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

template <typename Table>
Method look_up(const Table& table, std::string_view name) {
  for (const Named& entry : table) {
    if (entry.name == name) return entry.method;
  }
  return nullptr;
}

}  // namespace

Method find_sequence_method(std::string_view name, bool list) {
  return name == "copy" && !list ? nullptr : look_up(kListMethods, name);
}

Method find_dict_method(std::string_view name) { return look_up(kDictMethods, name); }

bool is_forbidden_list_attribute(std::string_view name) {
  return is_among(kListForbidden, name) || is_among(kInternal, name);
}

bool is_forbidden_dict_attribute(std::string_view name) {
  return is_among(kDictForbidden, name) || is_among(kInternal, name);
}

}  // namespace mimo::chat
