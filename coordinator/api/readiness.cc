#include "coordinator/api/readiness.h"

namespace mimo::coordinator {

Readiness ReadinessTracker::observe(const GroupStatus& status, bool draining, double now_s) {
  const bool serves = status.state == GroupState::kServing;
  const int32_t work = status.running + status.waiting;
  if (!serves || work == 0 || status.steps != steps_ || status.epoch != epoch_) progress_s_ = now_s;
  steps_ = status.steps;
  epoch_ = status.epoch;
  has_served_ = has_served_ || serves;

  if (draining) return {v1::ServerInfo::DRAINING, "draining"};
  if (!serves)
    return {has_served_ ? v1::ServerInfo::NOT_READY : v1::ServerInfo::STARTING, status.reason};
  const double stalled_s = now_s - progress_s_;
  if (stalled_s >= stall_s_)
    return {v1::ServerInfo::DEGRADED, "no step has ended for " +
                                          std::to_string(static_cast<int64_t>(stalled_s)) +
                                          " s with " + std::to_string(work) + " sequences live"};
  return {v1::ServerInfo::READY, ""};
}

}  // namespace mimo::coordinator
