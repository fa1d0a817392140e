#pragma once

#include <string_view>

#include "coordinator/template/value.h"

namespace mimo::chat {

// range, dict, namespace, cycler, joiner, raise_exception, strftime_now; missing for other names.
Value find_global(std::string_view name);

}  // namespace mimo::chat
