#pragma once

#include <functional>

#include "coordinator/groups/group_manager.h"
#include "mimo/v1/inference.pb.h"

namespace mimo::coordinator {

// What the API tells of the server besides what its sessions know.
struct ServerFacts {
  v1::ModelInfo model;
  v1::ServerInfo server;                // what does not change
  std::function<GroupStatus()> status;  // thread: any
};

// The fuller of the two pools' used share, 0 to 1: requests wait as soon as either is full.
double kv_usage(const GroupStatus& status);

}  // namespace mimo::coordinator
