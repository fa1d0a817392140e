#pragma once

#include <string_view>

#include "base/result.h"
#include "coordinator/template/arguments.h"
#include "coordinator/template/machine.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

using Filter = Result<Value> (*)(Machine& machine, const Value& subject,
                                 const Arguments& arguments);
using Test = Result<bool> (*)(Machine& machine, const Value& subject, const Arguments& arguments);

// Null when there is none of that name.
Filter find_filter(std::string_view name);
Test find_test(std::string_view name);

// The same, each part by itself.
Filter find_text_filter(std::string_view name);
Filter find_number_filter(std::string_view name);
Filter find_sequence_filter(std::string_view name);
Filter find_lazy_filter(std::string_view name);

// subject | name(arguments), subject is name(arguments).
Result<Value> apply_filter(Machine& machine, std::string_view name, const Value& subject,
                           const Arguments& arguments);
Result<bool> apply_test(Machine& machine, std::string_view name, const Value& subject,
                        const Arguments& arguments);

}  // namespace mimo::chat
