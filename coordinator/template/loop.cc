#include "coordinator/template/loop.h"

#include "coordinator/template/machine.h"
#include "coordinator/template/operators.h"

namespace mimo::chat {

Result<bool> LoopObject::next(Machine& machine, Value* item) {
  Value fresh;
  if (after_.has_value()) {
    fresh = std::move(*after_);
    after_.reset();
  } else {
    TRY_ASSIGN(const bool more, source_->next(machine, &fresh));
    if (!more) return false;
  }
  ++index0_;
  before_ = std::move(current_);
  current_ = std::move(fresh);
  *item = current_;
  return true;
}

Result<bool> LoopObject::peek(Machine& machine) {
  if (after_.has_value()) return true;
  Value fresh;
  TRY_ASSIGN(const bool more, source_->next(machine, &fresh));
  if (more) after_ = std::move(fresh);
  return more;
}

Result<int64_t> LoopObject::length(Machine& machine) {
  if (length_ >= 0) return length_;
  std::vector<Value> rest;
  Value item;
  while (true) {
    if (!machine.spend(1)) return machine.exhausted();
    TRY_ASSIGN(const bool more, source_->next(machine, &item));
    if (!more) break;
    rest.push_back(std::move(item));
  }
  length_ = static_cast<int64_t>(rest.size()) + index0_ + 1 + (after_.has_value() ? 1 : 0);
  TRY_ASSIGN(const Value list, machine.list(std::move(rest)));
  TRY_ASSIGN(source_, mimo::chat::iterate(list));
  return length_;
}

Result<Value> LoopObject::neighbour(Machine& machine, std::string_view name) {
  if (name == "previtem")
    return index0_ == 0 ? Value::undefined("there is no previous item") : before_;
  TRY_ASSIGN(const bool more, peek(machine));
  if (name == "last") return Value::boolean(!more);
  return more ? *after_ : Value::undefined("there is no next item");
}

Value LoopObject::method(std::string_view name) {
  auto self = std::static_pointer_cast<LoopObject>(shared_from_this());
  if (name == "cycle") {
    return make_object<Function>(
        "method", [self](Machine&, const Arguments& arguments) -> Result<Value> {
          if (!arguments.named.empty()) return invalid_argument("cycle() takes no named argument");
          if (arguments.positional.empty()) return invalid_argument("cycle() needs an item");
          const auto size = static_cast<int64_t>(arguments.positional.size());
          return arguments.positional[static_cast<size_t>(self->index0_ % size)];
        });
  }
  return make_object<Function>(
      "method", [self](Machine& machine, const Arguments& arguments) -> Result<Value> {
        if (!arguments.named.empty()) return invalid_argument("changed() takes no named argument");
        TRY_ASSIGN(Value now, machine.tuple(arguments.positional));
        if (self->last_changed_.has_value()) {
          TRY_ASSIGN(const bool same, equals(machine, *self->last_changed_, now));
          if (same) return Value::boolean(false);
        }
        self->last_changed_ = std::move(now);
        return Value::boolean(true);
      });
}

Result<bool> LoopObject::attribute(Machine& machine, std::string_view name, Value* value) {
  if (name == "index") {
    *value = Value::integer(index0_ + 1);
  } else if (name == "index0") {
    *value = Value::integer(index0_);
  } else if (name == "first") {
    *value = Value::boolean(index0_ == 0);
  } else if (name == "depth" || name == "depth0") {
    *value = Value::integer(name == "depth" ? 1 : 0);
  } else if (name == "length" || name == "revindex" || name == "revindex0") {
    TRY_ASSIGN(const int64_t all, length(machine));
    const int64_t passed = name == "length" ? 0 : name == "revindex" ? index0_ : index0_ + 1;
    *value = Value::integer(all - passed);
  } else if (name == "last" || name == "previtem" || name == "nextitem") {
    TRY_ASSIGN(*value, neighbour(machine, name));
  } else if (name == "cycle" || name == "changed") {
    *value = method(name);
  } else {
    return false;
  }
  return true;
}

Result<std::string> LoopObject::repr(Machine& machine) const {
  TRY_ASSIGN(const int64_t all, const_cast<LoopObject*>(this)->length(machine));
  return "<LoopContext " + std::to_string(index0_ + 1) + "/" + std::to_string(all) + ">";
}

Result<Value> LoopObject::call(Machine&, const Arguments&) {
  return invalid_argument("a loop that is not recursive cannot be called");
}

}  // namespace mimo::chat
