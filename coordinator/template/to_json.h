#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "coordinator/template/machine.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

// As the arguments of Python's json.dumps.
struct JsonLayout {
  bool ascii = false;
  bool sorted = false;
  std::optional<std::string> indent;  // of one level; none: everything in one line
  std::string between_items = ", ";
  std::string behind_key = ": ";
};

// What json.dumps writes. Refused: what is no JSON, such as undefined values and functions.
Result<void> append_json(Machine& machine, const Value& value, const JsonLayout& layout,
                         std::string* out);

}  // namespace mimo::chat
