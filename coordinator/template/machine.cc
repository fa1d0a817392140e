#include "coordinator/template/machine.h"

#include <utility>

namespace mimo::chat {

Machine::~Machine() {
  for (const auto& name_space : namespaces_) name_space->clear();
}

Error Machine::exhausted() const {
  return invalid_argument("the template takes more than " + std::to_string(limits_.steps_max) +
                          " steps");
}

Result<void> Machine::fits(int64_t bytes) const {
  if (bytes <= limits_.output_bytes_max) return {};
  return invalid_argument("the template makes a string of " + std::to_string(bytes) +
                          " bytes, at most " + std::to_string(limits_.output_bytes_max));
}

Result<Value> Machine::text(std::string bytes, bool markup) {
  const auto size = static_cast<int64_t>(bytes.size());
  TRY(fits(size));
  if (!spend(size / 16 + 1)) return exhausted();
  return Value::text(std::move(bytes), markup);
}

Result<Value> Machine::checked(Value value, size_t num_items) {
  if (!spend(static_cast<int64_t>(num_items) + 1)) return exhausted();
  if (value.depth() > limits_.nesting_max)
    return invalid_argument("the template nests lists or dicts more than " +
                            std::to_string(limits_.nesting_max) + " deep");
  return value;
}

Result<Value> Machine::list(std::vector<Value> items) {
  const size_t size = items.size();
  return checked(Value::list(std::move(items)), size);
}

Result<Value> Machine::tuple(std::vector<Value> items) {
  const size_t size = items.size();
  return checked(Value::tuple(std::move(items)), size);
}

Result<Value> Machine::dict(Dict dict) {
  const auto size = static_cast<size_t>(dict.size());
  return checked(Value::dict(std::move(dict)), size);
}

Result<Value> Machine::object(std::shared_ptr<Object> object) {
  return checked(Value::object(std::move(object)), 1);
}

Result<Value> Machine::make_namespace(Dict attributes) {
  if (!spend(attributes.size() + 1)) return exhausted();
  namespaces_.push_back(std::make_shared<Namespace>(std::move(attributes)));
  return Value::object(namespaces_.back());
}

Error Machine::raise(std::string message) {
  was_raised_ = true;
  return invalid_argument(std::move(message));
}

}  // namespace mimo::chat
