#pragma once

#include <memory>

#include "kernels/ops.h"
#include "lockstep_report.h"

namespace mimo::node::model_test {

// Two backends through the same work, operation by operation: before each, the second's inputs are
// made the first's (K, V and the FP8 copies of rows too) and its outputs NaN; after it the outputs
// are compared into `report`, and the first's stand. So what is compared is one operation on a
// model's real data, and no error is carried on. K and V begin as NaN. `first` is the CPU's
// backend in kDevice, whose memory is the host's; `second` any. The steps' rows are padded as
// `second` pads them. `report` outlives it. For groups of one.
std::unique_ptr<kernels::Ops> make_lockstep_ops(std::unique_ptr<kernels::Ops> first,
                                                std::unique_ptr<kernels::Ops> second,
                                                Lockstep& report);

}  // namespace mimo::node::model_test
