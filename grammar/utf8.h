#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mimo::grammar {

// Nothing when `bytes` are not well-formed UTF-8.
std::optional<std::u32string> from_utf8(std::string_view bytes);

}  // namespace mimo::grammar
