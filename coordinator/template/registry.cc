#include "coordinator/template/registry.h"

#include <string>

#include "coordinator/template/parser.h"

namespace mimo::chat {

Filter find_filter(std::string_view name) {
  for (const auto find :
       {find_text_filter, find_sequence_filter, find_lazy_filter, find_number_filter}) {
    if (const Filter filter = find(name); filter != nullptr) return filter;
  }
  return nullptr;
}

bool is_filter_name(std::string_view name) { return find_filter(name) != nullptr; }
bool is_test_name(std::string_view name) { return find_test(name) != nullptr; }

Result<Value> apply_filter(Machine& machine, std::string_view name, const Value& subject,
                           const Arguments& arguments) {
  const Filter filter = find_filter(name);
  if (filter == nullptr) return invalid_argument("no filter is named '" + std::string(name) + "'");
  return filter(machine, subject, arguments);
}

Result<bool> apply_test(Machine& machine, std::string_view name, const Value& subject,
                        const Arguments& arguments) {
  const Test test = find_test(name);
  if (test == nullptr) return invalid_argument("no test is named '" + std::string(name) + "'");
  return test(machine, subject, arguments);
}

}  // namespace mimo::chat
