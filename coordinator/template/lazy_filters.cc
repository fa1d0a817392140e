// Filters that give their items one by one, when they are asked for: errors come then too.
#include <algorithm>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "coordinator/template/attributes.h"
#include "coordinator/template/object.h"
#include "coordinator/template/operators.h"
#include "coordinator/template/registry.h"
#include "coordinator/template/unicode.h"

namespace mimo::chat {
namespace {

using Values = std::vector<Value>;

// An iterator that begins with its first item: until then nothing is looked at.
class Late final {
 public:
  explicit Late(Value subject) : subject_(std::move(subject)) {}

  Result<bool> next(Machine& machine, Value* item) {
    if (source_ == nullptr) {
      TRY_ASSIGN(source_, iterate(subject_));
    }
    if (!machine.spend(1)) return machine.exhausted();
    return source_->next(machine, item);
  }
  // False: there is nothing in it by itself, such as 0, "" and what is undefined.
  Result<bool> holds(Machine& machine) const { return truth(machine, subject_); }

 private:
  Value subject_;
  std::shared_ptr<Iterator> source_;
};

Result<Value> generator(Machine& machine, Generator::Next next, const Value& subject,
                        const Arguments& arguments) {
  int32_t depth = subject.depth();
  for (const Value& value : arguments.positional) depth = std::max(depth, value.depth());
  for (const auto& [name, value] : arguments.named) depth = std::max(depth, value.depth());
  return machine.object(std::make_shared<Generator>(std::move(next), depth + 1));
}

// How map changes an item.
class Mapper final {
 public:
  explicit Mapper(Arguments arguments) : arguments_(std::move(arguments)) {}

  Result<void> prepare() {
    const auto named = [this](std::string_view name) {
      return std::find_if(arguments_.named.begin(), arguments_.named.end(),
                          [name](const auto& argument) { return argument.first == name; });
    };
    const auto path = named("attribute");
    if (arguments_.positional.empty() && path != arguments_.named.end()) {
      by_path_ = true;
      TRY_ASSIGN(const auto given, bind(arguments_, "filter 'map'", {"attribute", "default"}, 1));
      path_ = given[0];
      fallback_ = given[1];
      return {};
    }
    if (arguments_.positional.empty())
      return invalid_argument("filter 'map' needs a filter or an attribute");
    TRY_ASSIGN(name_, to_text(arguments_.positional[0], "", "map's filter"));
    arguments_.positional.erase(arguments_.positional.begin());
    return {};
  }

  Result<Value> operator()(Machine& machine, const Value& item) const {
    if (by_path_) return follow_path(machine, item, path_, fallback_);
    return apply_filter(machine, name_, item, arguments_);
  }

 private:
  Arguments arguments_;
  bool by_path_ = false;
  Value path_, fallback_;
  std::string name_;
};

Result<Value> map(Machine& machine, const Value& subject, const Arguments& arguments) {
  auto next = [late = Late(subject), mapper = Mapper(arguments), started = false](
                  Machine& m, Value* item) mutable -> Result<bool> {
    TRY_ASSIGN(const bool holds, late.holds(m));
    if (!holds) return false;
    if (!std::exchange(started, true)) TRY(mapper.prepare());
    TRY_ASSIGN(const bool more, late.next(m, item));
    if (!more) return false;
    TRY_ASSIGN(*item, mapper(m, *item));
    return true;
  };
  return generator(machine, std::move(next), subject, arguments);
}

// Whether select, reject and their kin take an item.
class Chooser final {
 public:
  Chooser(Arguments arguments, bool by_attribute)
      : arguments_(std::move(arguments)), by_attribute_(by_attribute) {}

  Result<void> prepare() {
    auto& positional = arguments_.positional;
    if (by_attribute_) {
      if (positional.empty())
        return invalid_argument("filters 'selectattr' and 'rejectattr' need an attribute");
      path_ = positional[0];
      positional.erase(positional.begin());
    }
    if (positional.empty()) return {};
    has_test_ = true;
    TRY_ASSIGN(test_, to_text(positional[0], "", "the test of select or reject"));
    positional.erase(positional.begin());
    return {};
  }

  Result<bool> operator()(Machine& machine, const Value& item) const {
    Value value = item;
    if (by_attribute_) {
      TRY_ASSIGN(value, follow_path(machine, item, path_, Value()));
    }
    if (!has_test_) return truth(machine, value);
    return apply_test(machine, test_, value, arguments_);
  }

 private:
  Arguments arguments_;
  bool by_attribute_;
  bool has_test_ = false;
  Value path_;
  std::string test_;
};

template <bool kWanted, bool kByAttribute>
Result<Value> choose(Machine& machine, const Value& subject, const Arguments& arguments) {
  auto next = [late = Late(subject), chooser = Chooser(arguments, kByAttribute), started = false](
                  Machine& m, Value* item) mutable -> Result<bool> {
    TRY_ASSIGN(const bool holds, late.holds(m));
    if (!holds) return false;
    if (!std::exchange(started, true)) TRY(chooser.prepare());
    while (true) {
      TRY_ASSIGN(const bool more, late.next(m, item));
      if (!more) return false;
      TRY_ASSIGN(const bool taken, chooser(m, *item));
      if (taken == kWanted) return true;
    }
  };
  return generator(machine, std::move(next), subject, arguments);
}

Result<Value> items(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY(bind(arguments, "filter 'items'", {}, 0));
  auto next = [subject, i = size_t{0}](Machine& m, Value* item) mutable -> Result<bool> {
    if (subject.is_undefined()) return false;
    if (!subject.is_dict())
      return invalid_argument(std::string("filter 'items' is given ") + subject.type_name() +
                              ", expected dict");
    if (i >= subject.as_dict().entries().size()) return false;
    const auto& [key, value] = subject.as_dict().entries()[i++];
    TRY_ASSIGN(*item, m.tuple({key, value}));
    return true;
  };
  return generator(machine, std::move(next), subject, arguments);
}

Result<Value> unique(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given,
             bind(arguments, "filter 'unique'", {"case_sensitive", "attribute"}, 0));
  TRY_ASSIGN(const bool sensitive, truth(machine, given[0]));
  auto next = [late = Late(subject), path = given[1], sensitive, seen = Dict()](
                  Machine& m, Value* item) mutable -> Result<bool> {
    while (true) {
      TRY_ASSIGN(const bool more, late.next(m, item));
      if (!more) return false;
      TRY_ASSIGN(Value key, follow_path(m, *item, path, Value()));
      if (!sensitive && key.is_text()) key = Value::text(lower(key.as_text()));
      if (seen.find(key) != nullptr) continue;
      if (!seen.set(std::move(key), Value::none()))
        return invalid_argument("filter 'unique' is given a list or dict to compare");
      return true;
    }
  };
  return generator(machine, std::move(next), subject, arguments);
}

Result<Value> batch(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'batch'", {"linecount", "fill_with"}, 1));
  auto next = [late = Late(subject), count = given[0], fill = given[1], ended = false,
               pending = Values()](Machine& m, Value* out) mutable -> Result<bool> {
    if (ended) return false;
    Value item;
    while (true) {
      TRY_ASSIGN(const bool more, late.next(m, &item));
      if (!more) break;
      // As in Python the count may be anything; only a number is ever reached.
      const Value size = Value::integer(static_cast<int64_t>(pending.size()));
      TRY_ASSIGN(const bool full, equals(m, size, count));
      Values line;
      if (full) std::swap(line, pending);
      pending.push_back(item);
      if (!full) continue;
      TRY_ASSIGN(*out, m.list(std::move(line)));
      return true;
    }
    ended = true;
    if (pending.empty()) return false;
    if (!fill.is_missing() && !fill.is_none()) {
      TRY_ASSIGN(const int64_t most, to_integer(count, 0, "batch's linecount"));
      if (!m.spend(std::max<int64_t>(most, 0))) return m.exhausted();
      while (static_cast<int64_t>(pending.size()) < most) pending.push_back(fill);
    }
    TRY_ASSIGN(*out, m.list(std::move(pending)));
    return true;
  };
  return generator(machine, std::move(next), subject, arguments);
}

Result<Value> slice(Machine& machine, const Value& subject, const Arguments& arguments) {
  TRY_ASSIGN(const auto given, bind(arguments, "filter 'slice'", {"slices", "fill_with"}, 1));
  auto next = [subject, count = given[0], fill = given[1], all = Values(), started = false,
               number = int64_t{0}](Machine& m, Value* out) mutable -> Result<bool> {
    if (!std::exchange(started, true)) {
      TRY_ASSIGN(all, items_of(m, subject));
    }
    TRY_ASSIGN(const int64_t slices, to_integer(count, 0, "slice's number"));
    if (slices == 0) return invalid_argument("filter 'slice' makes no 0 slices");
    if (number >= slices) return false;
    const auto size = static_cast<int64_t>(all.size());
    const int64_t each = size / slices;
    const int64_t longer = size % slices;
    const int64_t start = number * each + std::min(number, longer);
    const int64_t end = start + each + (number < longer ? 1 : 0);
    Values part(all.begin() + start, all.begin() + end);
    if (number >= longer && !fill.is_missing() && !fill.is_none()) part.push_back(fill);
    ++number;
    TRY_ASSIGN(*out, m.list(std::move(part)));
    return true;
  };
  return generator(machine, std::move(next), subject, arguments);
}

}  // namespace

Filter find_lazy_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, Filter> filters{
      {"batch", batch},
      {"items", items},
      {"map", map},
      {"reject", choose<false, false>},
      {"rejectattr", choose<false, true>},
      {"select", choose<true, false>},
      {"selectattr", choose<true, true>},
      {"slice", slice},
      {"unique", unique},
  };
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace mimo::chat
