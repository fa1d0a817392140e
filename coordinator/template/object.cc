#include "coordinator/template/object.h"

#include <algorithm>

#include "coordinator/template/attributes.h"
#include "coordinator/template/machine.h"
#include "coordinator/template/operators.h"
#include "coordinator/template/printing.h"
#include "coordinator/template/unicode.h"
#include "coordinator/text/utf8.h"

namespace mimo::chat {
namespace {

Error not_iterable(const Value& value) {
  return invalid_argument(std::string("cannot iterate over ") + value.type_name());
}

class SequenceIterator final : public Iterator {
 public:
  explicit SequenceIterator(Value sequence) : sequence_(std::move(sequence)) {
    depth_ = sequence_.depth() + 1;
  }
  Result<bool> next(Machine&, Value* item) override {
    if (at_ >= sequence_.items().size()) return false;
    *item = sequence_.items()[at_++];
    return true;
  }

 private:
  Value sequence_;
  size_t at_ = 0;
};

class KeyIterator final : public Iterator {
 public:
  explicit KeyIterator(Value dict) : dict_(std::move(dict)) { depth_ = dict_.depth() + 1; }
  Result<bool> next(Machine&, Value* item) override {
    if (at_ >= dict_.as_dict().entries().size()) return false;
    *item = dict_.as_dict().entries()[at_++].first;
    return true;
  }

 private:
  Value dict_;
  size_t at_ = 0;
};

class CharacterIterator final : public Iterator {
 public:
  explicit CharacterIterator(Value text) : text_(std::move(text)) {}
  Result<bool> next(Machine&, Value* item) override {
    const std::string& bytes = text_.as_text();
    if (at_ >= bytes.size()) return false;
    const size_t start = at_;
    text::next_code_point(bytes, &at_);
    *item = Value::text(bytes.substr(start, at_ - start));
    return true;
  }

 private:
  Value text_;
  size_t at_ = 0;
};

}  // namespace

Result<std::string> Object::repr(Machine&) const {
  return std::string("<") + type_name() + " object>";
}

Result<Value> Object::call(Machine&, const Arguments&) {
  return invalid_argument(std::string("a ") + type_name() + " cannot be called");
}

Result<bool> Object::attribute(Machine&, std::string_view, Value*) { return false; }
Result<int64_t> Object::length(Machine&) { return -1; }
std::shared_ptr<Iterator> Object::iterate(const Value&) { return nullptr; }

std::shared_ptr<Iterator> Iterator::iterate(const Value& self) {
  // The value keeps the iterator alive as long as what is returned shares it.
  auto keeper = std::make_shared<Value>(self);
  return {keeper, this};
}

Result<std::shared_ptr<Iterator>> iterate(const Value& value) {
  std::shared_ptr<Iterator> iterator;
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      iterator = std::make_shared<Generator>([](Machine&, Value*) { return false; });
      break;
    case Value::Kind::kText:
      iterator = std::make_shared<CharacterIterator>(value);
      break;
    case Value::Kind::kSequence:
      iterator = std::make_shared<SequenceIterator>(value);
      break;
    case Value::Kind::kDict:
      iterator = std::make_shared<KeyIterator>(value);
      break;
    case Value::Kind::kObject:
      iterator = value.as_object().iterate(value);
      break;
    default:
      break;
  }
  if (iterator == nullptr) return not_iterable(value);
  return iterator;
}

Result<std::vector<Value>> items_of(Machine& machine, const Value& value) {
  if (value.is_sequence()) {
    if (!machine.spend(static_cast<int64_t>(value.items().size()))) return machine.exhausted();
    return value.items();
  }
  TRY_ASSIGN(const auto iterator, iterate(value));
  std::vector<Value> items;
  Value item;
  while (true) {
    if (!machine.spend(1)) return machine.exhausted();
    TRY_ASSIGN(const bool more, iterator->next(machine, &item));
    if (!more) return items;
    items.push_back(item);
  }
}

Result<int64_t> length_of(Machine& machine, const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return int64_t{0};
    case Value::Kind::kText:
      if (!machine.spend(static_cast<int64_t>(value.as_text().size() / 64)))
        return machine.exhausted();
      return num_code_points(value.as_text());
    case Value::Kind::kSequence:
      return static_cast<int64_t>(value.items().size());
    case Value::Kind::kDict:
      return value.as_dict().size();
    case Value::Kind::kObject:
      return value.as_object().length(machine);
    default:
      return int64_t{-1};
  }
}

Result<bool> truth(Machine& machine, const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
    case Value::Kind::kNone:
      return false;
    case Value::Kind::kBool:
    case Value::Kind::kInt:
      return value.as_integer() != 0;
    case Value::Kind::kFloat:
      return value.as_real() != 0;
    case Value::Kind::kText:
      return !value.as_text().empty();
    default: {
      TRY_ASSIGN(const int64_t length, length_of(machine, value));
      return length != 0;
    }
  }
}

int64_t RangeObject::size() const {
  if (step_ > 0) return start_ < stop_ ? (stop_ - start_ - 1) / step_ + 1 : 0;
  return start_ > stop_ ? (start_ - stop_ - 1) / -step_ + 1 : 0;
}

bool RangeObject::contains(int64_t value) const {
  const bool inside =
      step_ > 0 ? value >= start_ && value < stop_ : value <= start_ && value > stop_;
  return inside && (value - start_) % step_ == 0;
}

bool RangeObject::operator==(const RangeObject& other) const {
  if (size() != other.size()) return false;
  if (size() == 0) return true;
  return start_ == other.start_ && (size() == 1 || step_ == other.step_);
}

Result<std::string> RangeObject::repr(Machine&) const {
  std::string out = "range(" + std::to_string(start_) + ", " + std::to_string(stop_);
  if (step_ != 1) out += ", " + std::to_string(step_);
  return out + ")";
}

Result<bool> RangeObject::attribute(Machine&, std::string_view name, Value* value) {
  if (name == "start") *value = Value::integer(start_);
  if (name == "stop") *value = Value::integer(stop_);
  if (name == "step") *value = Value::integer(step_);
  return name == "start" || name == "stop" || name == "step";
}

std::shared_ptr<Iterator> RangeObject::iterate(const Value&) {
  return std::make_shared<Generator>(
      [range = *this, i = int64_t{0}](Machine&, Value* item) mutable {
        if (i >= range.size()) return false;
        *item = Value::integer(range.at(i++));
        return true;
      });
}

const char* DictView::type_name() const {
  constexpr const char* kNames[] = {"dict_keys", "dict_values", "dict_items"};
  return kNames[static_cast<size_t>(part_)];
}

Value DictView::at(size_t i) const {
  const auto& [key, value] = dict().entries()[i];
  if (part_ == Part::kKeys) return key;
  return part_ == Part::kValues ? value : Value::tuple({key, value});
}

Result<std::string> DictView::repr(Machine& machine) const {
  std::vector<Value> items;
  for (size_t i = 0; i < dict().entries().size(); ++i) items.push_back(at(i));
  std::string out = std::string(type_name()) + "(";
  TRY(append_repr(machine, Value::list(std::move(items)), &out));
  return out + ")";
}

std::shared_ptr<Iterator> DictView::iterate(const Value&) {
  return std::make_shared<Generator>(
      [view = *this, i = size_t{0}](Machine&, Value* item) mutable {
        if (i >= view.dict().entries().size()) return false;
        *item = view.at(i++);
        return true;
      },
      depth());
}

Result<std::string> Namespace::repr(Machine& machine) const {
  // Namespaces may hold each other in a circle.
  if (!machine.enter_repr()) return invalid_argument("namespaces hold each other too deep");
  std::string out = "<Namespace {";
  bool first = true;
  for (const auto& [key, value] : attributes_.entries()) {
    if (!first) out += ", ";
    first = false;
    TRY(append_repr(machine, key, &out));
    out += ": ";
    TRY(append_repr(machine, value, &out));
  }
  machine.leave_repr();
  return out + "}>";
}

Result<bool> Namespace::attribute(Machine&, std::string_view name, Value* value) {
  const Value* found = attributes_.find(name);
  if (found != nullptr) *value = *found;
  return found != nullptr;
}

void Namespace::set(const std::string& name, Value value) {
  attributes_.set(Value::text(name), std::move(value));
}

}  // namespace mimo::chat
