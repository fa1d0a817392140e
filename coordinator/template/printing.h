#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "coordinator/template/machine.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

// Python's str(value) and repr(value), appended. Objects that Python shows by their address are
// shown without it.
Result<void> append_str(Machine& machine, const Value& value, std::string* out);
Result<void> append_repr(Machine& machine, const Value& value, std::string* out);
Result<std::string> str(Machine& machine, const Value& value);

// repr() of a float: the shortest digits that read back as the same value.
std::string float_repr(double value);
// repr() of a str, quoted; with `ascii` as ascii() does it.
std::string text_repr(std::string_view text, bool ascii = false);
// & < > ' " as HTML entities.
std::string escape_html(std::string_view text);

}  // namespace mimo::chat
