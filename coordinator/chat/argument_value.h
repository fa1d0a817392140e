#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/chat/tool_set.h"

namespace mimo::chat {

// A call's parameters, as key and written value, as the text of one JSON object. Of a key that
// comes twice the last value counts.
std::string arguments_json(const ToolSpec& tool,
                           const std::vector<std::pair<std::string, std::string>>& parameters);

// A written value as JSON text, by its declared types (see declared_types): null, true and false,
// numbers, JSON or Python literals for arrays and objects, each where it is allowed and the text is
// one; else a string. Texts have no types of their own: "5" of a string parameter stays "5".
// Strings are unescaped (&lt; and its kin); arrays and objects only when they do not parse as they
// are.
std::string argument_json(std::string_view text, uint32_t types);

// &amp; &lt; &gt; &quot; &apos; and numeric references replaced; all else stays as it is, so that
// texts about HTML keep its other names.
std::string unescape_markup(std::string_view text);

}  // namespace mimo::chat
