#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "coordinator/template/arguments.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

class Machine;

// A value with identity or behaviour of its own. What it is not made for fails or is undefined, as
// with a Python object that lacks the method.
class Object : public std::enable_shared_from_this<Object> {
 public:
  virtual ~Object() = default;

  virtual const char* type_name() const = 0;
  virtual Result<std::string> repr(Machine& machine) const;
  virtual bool is_callable() const { return false; }
  virtual Result<Value> call(Machine& machine, const Arguments& arguments);
  // True, and *value, when there is such an attribute.
  virtual Result<bool> attribute(Machine& machine, std::string_view name, Value* value);
  // Elements; -1: it has no length.
  virtual Result<int64_t> length(Machine& machine);
  // A new iterator, or null: it cannot be iterated.
  virtual std::shared_ptr<class Iterator> iterate(const Value& self);
  virtual int32_t depth() const { return 0; }
};

// Gives its items once: Python's generators and iterators.
class Iterator : public Object {
 public:
  const char* type_name() const override { return "generator"; }
  std::shared_ptr<Iterator> iterate(const Value& self) override;
  int32_t depth() const override { return depth_; }

  // True, and *item, until there is none left.
  virtual Result<bool> next(Machine& machine, Value* item) = 0;

 protected:
  int32_t depth_ = 1;
};

// An iterator made of a function. `depth` is that of what it holds.
class Generator final : public Iterator {
 public:
  using Next = std::function<Result<bool>(Machine&, Value*)>;

  explicit Generator(Next next, int32_t depth = 1) : next_(std::move(next)) { depth_ = depth + 1; }
  Result<bool> next(Machine& machine, Value* item) override { return next_(machine, item); }

 private:
  Next next_;
};

// An iterator over what any iterable value has; an error for the others. Strings give characters,
// dicts keys.
Result<std::shared_ptr<Iterator>> iterate(const Value& value);

// All items of an iterable value, each charged to the machine.
Result<std::vector<Value>> items_of(Machine& machine, const Value& value);

// len(value); -1 when it has none.
Result<int64_t> length_of(Machine& machine, const Value& value);

// bool(value).
Result<bool> truth(Machine& machine, const Value& value);

// A whole number beyond 64 bits, as its digits: it is printed, and nothing else.
class WholeDigits final : public Object {
 public:
  explicit WholeDigits(std::string digits) : digits_(std::move(digits)) {}

  const char* type_name() const override { return "int"; }
  Result<std::string> repr(Machine&) const override { return digits_; }
  const std::string& digits() const { return digits_; }

 private:
  std::string digits_;
};

// range(start, stop, step).
class RangeObject final : public Object {
 public:
  RangeObject(int64_t start, int64_t stop, int64_t step)
      : start_(start), stop_(stop), step_(step) {}

  const char* type_name() const override { return "range"; }
  Result<std::string> repr(Machine& machine) const override;
  Result<bool> attribute(Machine& machine, std::string_view name, Value* value) override;
  Result<int64_t> length(Machine&) override { return size(); }
  std::shared_ptr<Iterator> iterate(const Value& self) override;

  int64_t size() const;
  int64_t at(int64_t i) const { return start_ + i * step_; }
  int64_t step() const { return step_; }
  bool contains(int64_t value) const;
  bool operator==(const RangeObject& other) const;

 private:
  int64_t start_, stop_, step_;
};

// What dict.keys(), .values() and .items() give.
class DictView final : public Object {
 public:
  enum class Part : uint8_t { kKeys, kValues, kItems };

  DictView(Value dict, Part part) : dict_(std::move(dict)), part_(part) {}

  const char* type_name() const override;
  Result<std::string> repr(Machine& machine) const override;
  Result<int64_t> length(Machine&) override { return dict().size(); }
  std::shared_ptr<Iterator> iterate(const Value& self) override;
  int32_t depth() const override { return dict().depth() + 2; }

  const Dict& dict() const { return dict_.as_dict(); }
  Part part() const { return part_; }
  Value at(size_t i) const;

 private:
  Value dict_;
  Part part_;
};

// namespace(): the one thing that a template can change.
//
// Lifetime: the machine empties all of them at the end, so that two which hold each other go.
class Namespace final : public Object {
 public:
  explicit Namespace(Dict attributes) : attributes_(std::move(attributes)) {}

  const char* type_name() const override { return "Namespace"; }
  Result<std::string> repr(Machine& machine) const override;
  Result<bool> attribute(Machine& machine, std::string_view name, Value* value) override;

  void set(const std::string& name, Value value);
  void clear() { attributes_ = Dict(); }

 private:
  Dict attributes_;
};

// A function of ours: a global, or a method bound to what it is called on.
class Function final : public Object {
 public:
  using Body = std::function<Result<Value>(Machine&, const Arguments&)>;

  Function(const char* type_name, Body body, int32_t depth = 0)
      : type_name_(type_name), body_(std::move(body)), depth_(depth) {}

  const char* type_name() const override { return type_name_; }
  bool is_callable() const override { return true; }
  Result<Value> call(Machine& machine, const Arguments& arguments) override {
    return body_(machine, arguments);
  }
  int32_t depth() const override { return depth_; }

 private:
  const char* type_name_;
  Body body_;
  int32_t depth_;
};

template <typename T, typename... Args>
Value make_object(Args&&... args) {
  return Value::object(std::make_shared<T>(std::forward<Args>(args)...));
}

}  // namespace mimo::chat
