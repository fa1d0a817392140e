#pragma once

#include <string>

#include "base/result.h"
#include "coordinator/sessions/generate_spec.h"

namespace mimo::coordinator {

// Sets temperature, top_p and top_k of `limits` to what a generation_config.json says; do_sample =
// false is temperature 0. Its other fields are not about sampling here. kInvalidArgument naming
// file, field and value; `limits` is then unchanged.
Result<void> apply_generation_defaults(const std::string& path, RequestLimits* limits);

}  // namespace mimo::coordinator
