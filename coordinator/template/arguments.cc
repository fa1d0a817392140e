#include "coordinator/template/arguments.h"

namespace mimo::chat {
namespace {

Error wrong_count(std::string_view who, size_t given, size_t least, size_t most) {
  return invalid_argument(std::string(who) + " got " + std::to_string(given) +
                          " arguments, expected " + std::to_string(least) +
                          (least == most ? "" : " to " + std::to_string(most)));
}

}  // namespace

Result<std::vector<Value>> bind(const Arguments& arguments, std::string_view who,
                                std::initializer_list<const char*> names, size_t num_required) {
  if (arguments.positional.size() > names.size())
    return wrong_count(who, arguments.positional.size(), num_required, names.size());
  std::vector<Value> bound(names.size());
  std::vector<bool> given(names.size());
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    bound[i] = arguments.positional[i];
    given[i] = true;
  }
  for (const auto& [name, value] : arguments.named) {
    size_t i = 0;
    while (i < names.size() && names.begin()[i] != name) ++i;
    if (i == names.size())
      return invalid_argument(std::string(who) + " has no argument '" + name + "'");
    if (given[i]) return invalid_argument(std::string(who) + " got argument '" + name + "' twice");
    bound[i] = value;
    given[i] = true;
  }
  for (size_t i = 0; i < num_required; ++i) {
    if (!given[i])
      return invalid_argument(std::string(who) + " needs argument '" + names.begin()[i] + "'");
  }
  return bound;
}

Result<std::vector<Value>> bind_positional(const Arguments& arguments, std::string_view who,
                                           size_t num_required, size_t num_max) {
  if (!arguments.named.empty())
    return invalid_argument(std::string(who) + " takes no argument by name, got '" +
                            arguments.named.front().first + "'");
  const size_t given = arguments.positional.size();
  if (given < num_required || given > num_max)
    return wrong_count(who, given, num_required, num_max);
  std::vector<Value> bound = arguments.positional;
  bound.resize(num_max);
  return bound;
}

Result<int64_t> to_integer(const Value& value, int64_t fallback, std::string_view what) {
  if (value.is_missing()) return fallback;
  if (value.is_integer()) return value.as_integer();
  if (value.is_undefined()) return invalid_argument(value.undefined_reason());
  return invalid_argument(std::string(what) + " is " + value.type_name() + ", expected int");
}

Result<std::string> to_text(const Value& value, std::string_view fallback, std::string_view what) {
  if (value.is_missing()) return std::string(fallback);
  if (value.is_text()) return value.as_text();
  if (value.is_undefined()) return invalid_argument(value.undefined_reason());
  return invalid_argument(std::string(what) + " is " + value.type_name() + ", expected str");
}

}  // namespace mimo::chat
