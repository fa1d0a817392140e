#pragma once

#include <string>

#include "coordinator/groups/group_manager.h"

namespace mimo::testing {

// Small pools and short time-outs for the checkpoint in `model_folder`. CHECKs that it is one.
coordinator::GroupManager::Options manager_options(const std::string& model_folder, int32_t tp);

}  // namespace mimo::testing
