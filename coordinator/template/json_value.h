#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

// A JSON value as a template sees it. Refused: strings that are no UTF-8, integers past 64 signed
// bits, nesting of more than `nesting_max`. Messages name the place, such as messages[0].content.
Result<Value> from_json(const nlohmann::ordered_json& json, int32_t nesting_max);

}  // namespace mimo::chat
