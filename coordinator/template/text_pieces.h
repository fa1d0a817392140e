#pragma once

#include <string_view>

#include "base/result.h"
#include "coordinator/template/machine.h"
#include "coordinator/template/methods.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

// str's methods that search, cut and join: split, replace, find and so on.
Method find_piece_method(std::string_view name);

// Letters of one case only, and at least one: str.isupper, str.islower.
bool is_upper_text(std::string_view text);
bool is_lower_text(std::string_view text);

// `text` with `left` and `right` times `fill` around it.
Result<Value> pad(Machine& machine, const Value& text, int64_t left, int64_t right,
                  std::string_view fill);

// All or the first `count` (negative: all) occurrences of `from` become `to`.
Result<Value> replace(Machine& machine, const Value& text, std::string_view from,
                      std::string_view to, int64_t count);

}  // namespace mimo::chat
