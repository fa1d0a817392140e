#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "coordinator/template/arguments.h"
#include "coordinator/template/machine.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

// format % values: Python's printf-like formatting.
Result<Value> percent_format(Machine& machine, const Value& format, const Value& values);

// str.format: "{0.name!r:>8}" and so on.
Result<Value> brace_format(Machine& machine, const Value& format, const Arguments& arguments);

// How a number or string is laid out: what both ways of formatting come down to.
struct Layout {
  std::string fill = " ";
  char align = 0;   // '<', '>', '^', '=' (between sign and digits), 0: the type's own
  char sign = '-';  // '-', '+', ' '
  bool alternate = false;
  char group = 0;  // ',' or '_' between thousands
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

Result<std::string> lay_out_text(Machine& machine, std::string_view text, const Layout& layout);
Result<std::string> lay_out_integer(Machine& machine, int64_t value, const Layout& layout);
Result<std::string> lay_out_real(Machine& machine, double value, const Layout& layout);

}  // namespace mimo::chat
