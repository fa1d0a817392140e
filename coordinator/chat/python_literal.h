#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mimo::chat {

// A Python literal as JSON text: dicts with string keys, lists, tuples, strings, decimal numbers,
// True, False and None, nested up to kJsonDepthMax. Nothing when the text is anything else.
std::optional<std::string> python_literal_json(std::string_view text);

}  // namespace mimo::chat
