#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "coordinator/template/machine.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

// value.name: the attribute, else the item, else undefined. What could change a list or a dict is
// undefined, as in Jinja's immutable sandbox.
Result<Value> get_attribute(Machine& machine, const Value& value, const std::string& name);

// value[key]: the item, else, for a string, the attribute, else undefined.
Result<Value> get_item(Machine& machine, const Value& value, const Value& key);

// value[start:stop:step]; None or missing where a part is left out.
Result<Value> get_slice(Machine& machine, const Value& value, const Value& start, const Value& stop,
                        const Value& step);

// The attribute alone; missing when there is none.
Result<Value> find_attribute(Machine& machine, const Value& value, std::string_view name);

// "a.b.0" followed item by item, as filters do with their `attribute`; `fallback`, unless it is
// missing or None, stands in for what is undefined on the way.
Result<Value> follow_path(Machine& machine, Value value, const Value& path, const Value& fallback);

}  // namespace mimo::chat
