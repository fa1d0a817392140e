#pragma once

#include <cstddef>
#include <vector>

#include "base/result.h"
#include "coordinator/template/machine.h"
#include "coordinator/template/value.h"

namespace mimo::chat {

// The places of `keys` in ascending, or with `reverse` descending, order; equal ones stay in their
// order. An error where two of them cannot be compared.
Result<std::vector<size_t>> sorted_order(Machine& machine, const std::vector<Value>& keys,
                                         bool reverse);

}  // namespace mimo::chat
