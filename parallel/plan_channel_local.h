#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/plan_channel.h"

namespace mimo::parallel {

struct LocalPlanChannel {
  std::unique_ptr<PlanLeader> leader;
  std::vector<std::unique_ptr<PlanFollower>> followers;  // index = rank - 1
};

// A channel between threads of this process; num_followers >= 0. An end that is destroyed is a
// closed connection to the others: what it had sent can still be read, then kUnavailable.
LocalPlanChannel make_local_plan_channel(int32_t num_followers);

}  // namespace mimo::parallel
