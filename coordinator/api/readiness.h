#pragma once

#include <cstdint>
#include <string>

#include "coordinator/groups/group_manager.h"
#include "mimo/v1/inference.pb.h"

namespace mimo::coordinator {

struct Readiness {
  v1::ServerInfo::State state = v1::ServerInfo::STARTING;
  std::string reason;  // when it is not READY
  bool healthy() const { return state == v1::ServerInfo::READY; }
};

// Says whether the server serves: a group does, it makes progress, and nobody drains it.
//
// Thread: one at a time.
class ReadinessTracker final {
 public:
  // A group with work and no finished step for so long does not serve.
  explicit ReadinessTracker(double stall_s) : stall_s_(stall_s) {}

  Readiness observe(const GroupStatus& status, bool draining, double now_s);

 private:
  double stall_s_;
  bool has_served_ = false;
  int64_t epoch_ = -1;
  int64_t steps_ = -1;
  double progress_s_ = 0;  // when a step had ended, or there was no work
};

}  // namespace mimo::coordinator
