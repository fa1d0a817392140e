#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

// What a call, a filter or a test is given, but for its subject.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  bool empty() const { return positional.empty() && named.empty(); }
};

// The parameters `names` in their order, missing where not given. Refused: too many, unknown or
// double ones, and less than the first `num_required`. `who` is named in the refusal.
Result<std::vector<Value>> bind(const Arguments& arguments, std::string_view who,
                                std::initializer_list<const char*> names, size_t num_required);
// The same, for what Python takes by position only.
Result<std::vector<Value>> bind_positional(const Arguments& arguments, std::string_view who,
                                           size_t num_required, size_t num_max);

// `value` as an int where `fallback` stands for a missing one. Floats and strings are refused.
Result<int64_t> to_integer(const Value& value, int64_t fallback, std::string_view what);
// `value` as a string where `fallback` stands for a missing one. Only strings are taken.
Result<std::string> to_text(const Value& value, std::string_view fallback, std::string_view what);

}  // namespace mimo::chat
