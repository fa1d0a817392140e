#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "parallel/tp_group.h"

namespace mimo::bench {

// Becomes `tp` processes, one a GPU, before any of them has touched a device; forms their group and
// runs `body` in each. What a rank's body returns is that rank's; the first error is the answer.
Result<void> run_ranks(int32_t tp,
                       const std::function<Result<void>(int32_t rank, parallel::TpGroup&)>& body);

}  // namespace mimo::bench
