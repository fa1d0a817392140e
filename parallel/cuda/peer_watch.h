#pragma once

#include <poll.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "parallel/cuda/rank_address.h"
#include "parallel/fd.h"
#include "parallel/wait.h"

namespace mimo::parallel::cuda {

// Sees a killed peer at once where its process can be seen: on the same host, in the same process
// namespace. NCCL does not notice one over NVLink.
//
// Thread:    one at a time.
class PeerWatch final {
 public:
  // kUnavailable: a peer's process is gone already.
  static Result<std::unique_ptr<PeerWatch>> create(int32_t rank,
                                                   const std::vector<RankAddress>& addresses,
                                                   std::shared_ptr<AbortEvent> aborted);

  // After `timeout_ms`, ok; before it kUnavailable as soon as a peer's process ends ("rank 1 is
  // lost: its process 123 ended") or the event is set ("aborted").
  Result<void> wait(int64_t timeout_ms);
  int32_t num_watched() const { return static_cast<int32_t>(processes_.size()); }

 private:
  struct Process {
    int32_t rank;
    int32_t pid;
    Fd fd;
    Error gone() const;
  };
  explicit PeerWatch(std::shared_ptr<AbortEvent> aborted) : aborted_(std::move(aborted)) {}

  std::vector<Process> processes_;
  const std::shared_ptr<AbortEvent> aborted_;  // with whoever may abort while the group forms
  std::vector<pollfd> polled_;                 // [processes + 1]
};

}  // namespace mimo::parallel::cuda
