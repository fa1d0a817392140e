#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "parallel/fd.h"
#include "parallel/plan_handshake.h"
#include "parallel/wait.h"

namespace mimo::parallel {

// One wait for the followers of an epoch: who is there, who is about to be. Newcomers are heard
// side by side, so that one who says nothing keeps nobody out.
//
// Thread:    one at a time.
// Lifetime:  listener and abort outlive it.
class PlanReception final {
 public:
  PlanReception(const Fd& listener, const AbortEvent& abort, int32_t size, Epoch epoch)
      : listener_(listener), abort_(abort), epoch_(epoch), followers_(size - 1) {}

  // True when all are there; false when the deadline passed with ranks missing.
  Result<bool> run(const Deadline& deadline);
  // "rank 1, rank 3".
  std::string missing() const;
  // Index = rank - 1.
  std::vector<Fd> take() { return std::move(followers_); }

 private:
  // A connection that has not said a whole hello.
  struct Newcomer {
    Fd fd;
    Deadline deadline;
    PlanHello::Bytes bytes{};
    size_t num_read = 0;
  };

  Result<void> round(const Deadline& deadline);
  Result<void> accept_all();
  // True while the newcomer has more to say and time to say it.
  bool listen_to(Newcomer& newcomer, bool readable);
  void greet(Newcomer& newcomer);
  PlanHello::Verdict judge(const PlanHello& hello) const;

  const Fd& listener_;
  const AbortEvent& abort_;
  const Epoch epoch_;
  std::vector<Fd> followers_;  // not valid: not there
  std::vector<Newcomer> newcomers_;
};

}  // namespace mimo::parallel
