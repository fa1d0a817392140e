#pragma once

#include <cstdint>

namespace mimo::coordinator {

enum class GroupState : uint8_t { kWaiting = 0, kPreparing, kLoading, kServing, kDraining };
// "waiting", "preparing", "loading", "serving", "draining".
const char* group_state_name(GroupState state);

}  // namespace mimo::coordinator
