#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "coordinator/chat/tool_set.h"

namespace mimo::chat {

// Formats of a structural tag (proto/mimo/v1/constraint.proto), put together.
nlohmann::ordered_json fixed_text(std::string_view text);
nlohmann::ordered_json one_text_of(const std::vector<std::string>& texts);
nlohmann::ordered_json free_text(std::string_view without);  // any text that `without` is not in
nlohmann::ordered_json in_order(nlohmann::ordered_json formats);
nlohmann::ordered_json either(nlohmann::ordered_json formats);

// A call of the tool in the markup that its model was trained on, byte for byte: parameters in
// their declared order, required ones always there. A strict tool's values are held to their
// schemas; of others only those of plain types are. kInvalidArgument: a strict tool's schema that
// the markup cannot be held to.
Result<nlohmann::ordered_json> call_format(const ToolSpec& tool);

// A call of any of the tools.
Result<nlohmann::ordered_json> any_call_format(const ToolSet& tools);

// Any text with calls in it: strict tools' as in call_format(), others' as the model likes. With
// `stop_after_first` the text ends behind its first call.
Result<nlohmann::ordered_json> text_with_calls_format(const ToolSet& tools, bool any_strict,
                                                      bool stop_after_first);

}  // namespace mimo::chat
