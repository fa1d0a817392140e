#pragma once

#include "base/result.h"
#include "kernels/ops.h"

namespace mimo::node {

// kInvalidArgument naming field, value and bound. Ids are not looked at.
Result<void> check_sampling(const kernels::SamplingParams& params);

}  // namespace mimo::node
