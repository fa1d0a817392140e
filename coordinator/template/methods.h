#pragma once

#include <string_view>

#include "base/result.h"
#include "coordinator/template/arguments.h"
#include "coordinator/template/machine.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

using Method = Result<Value> (*)(Machine& machine, const Value& self, const Arguments& arguments);

// Null when the type has no such method, or none that a template may call.
Method find_text_method(std::string_view name);
Method find_sequence_method(std::string_view name, bool list);
Method find_dict_method(std::string_view name);

// Whether Python's type has the attribute, though no template may use it: it hides a dict's item of
// the same name, and calling it is refused.
bool is_forbidden_dict_attribute(std::string_view name);
bool is_forbidden_list_attribute(std::string_view name);

}  // namespace mimo::chat
