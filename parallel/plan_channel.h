#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace mimo::parallel {

// The largest plan or report, in bytes, unless a channel's maker says otherwise.
constexpr int64_t kPlanBytesMax = 256ll << 20;
// Plans sent and not yet collected; the next send is refused.
constexpr int64_t kPlansInFlightMax = 64;

// Rank 0's end of the channel by which step plans reach the other ranks, and reports come back.
// Apart from the collectives: a plan is on its way while the ranks still compute.
//
// kDeadlineExceeded, kInvalidArgument, kResourceExhausted and kFailedPrecondition leave the channel
// as it was. Any other error is the channel's end: every later call answers the first such error.
//
// Thread:    one thread at a time makes calls; abort() from any thread.
class PlanLeader {
 public:
  virtual ~PlanLeader() = default;

  // To every follower; returns when the bytes are handed over (to the kernel), not when they are
  // read. kInvalidArgument: larger than the channel's bound. kResourceExhausted: too many plans in
  // flight. Nothing was sent then.
  virtual Result<void> send(std::span<const uint8_t> plan) = 0;

  // One report of each follower (index = rank - 1) for the oldest plan not yet collected.
  // kDeadlineExceeded names the ranks whose report is missing; what came is kept for the next call.
  // kFailedPrecondition: every plan sent has been collected.
  virtual Result<std::vector<std::vector<uint8_t>>> collect(int64_t timeout_ms) = 0;

  // Pending and later calls answer kUnavailable within 100 ms; so do the followers'.
  virtual void abort() = 0;
};

// Another rank's end. Errors as the leader's.
//
// Thread:    one thread at a time makes calls; abort() from any thread.
class PlanFollower {
 public:
  virtual ~PlanFollower() = default;

  // The next plan, in the order sent. kDeadlineExceeded: none came.
  virtual Result<std::vector<uint8_t>> receive(int64_t timeout_ms) = 0;

  // The answer to the oldest plan received and not yet reported.
  virtual Result<void> report(std::span<const uint8_t> bytes) = 0;

  virtual void abort() = 0;
};

}  // namespace mimo::parallel
