#pragma once

#include "kvcache/kv_store.h"
#include "node/engine/step_plan.h"

namespace mimo::node {

// The plan's part that a KvStore applies. The grants' spans borrow from `plan`.
kvcache::KvChanges page_changes(const StepPlan& plan);

}  // namespace mimo::node
