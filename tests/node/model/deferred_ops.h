#pragma once

#include <memory>

#include "kernels/ops.h"

namespace mimo::node::model_test {

// What DeferredOps did, for tests to look at.
struct DeferredCounts {
  int32_t num_recorded = 0;
  int32_t num_replayed = 0;
};

// A device in a box: every call that a device would queue is kept and done only when somebody
// waits, copies from and to the host's memory too. Two steps may be out; decode rows are padded to
// multiples of 4; recorded bodies are replayed call by call without running them again. The work
// itself is `ops`'s. For groups of one: a group's own calls are not kept. `counts` outlives it.
std::unique_ptr<kernels::Ops> make_deferred_ops(std::unique_ptr<kernels::Ops> ops,
                                                DeferredCounts& counts);

}  // namespace mimo::node::model_test
