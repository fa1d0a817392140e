#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/tp_group.h"

namespace mimo::parallel {

// `size` ranks (> 0) as threads of this process; element r is rank r's. A rank that is destroyed is
// lost to the others; abort() of one rank breaks all of them.
std::vector<std::unique_ptr<TpGroup>> make_local_groups(int32_t size,
                                                        int64_t timeout_ms = kGroupTimeoutMs);

}  // namespace mimo::parallel
