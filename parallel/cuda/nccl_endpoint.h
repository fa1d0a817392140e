#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel/cuda/choice.h"
#include "parallel/cuda/peer_memory.h"
#include "parallel/cuda/rank_address.h"
#include "parallel/group_endpoint.h"
#include "parallel/wait.h"

namespace mimo::parallel::cuda {

// Ranks as processes, one a GPU. Its groups queue their work on the caller's stream, may be
// recorded in graphs, and use kernels over peer memory where the ranks have it (one host, NVLink or
// PCIe peer access), NCCL for what is large and where they do not; the log says which and why.
//
// The group's calls expect the calling thread's current device to be the memory's. barrier() waits
// on the host, independently of any stream. A peer that is lost, or silent for longer than the
// group's timeout, is found by a thread of the group's own, and by the waiting kernels: queued work
// then ends with undefined results, and check() says why. Graphs that hold a group's calls are
// destroyed before the group.
//
// Thread:    one at a time; what aborter() gave any.
// Lifetime:  the memory outlives endpoint and group. One group at a time over one memory.
class NcclEndpoint final : public GroupEndpoint {
 public:
  struct Options {
    bool is_rank_0 = true;  // whose process the others meet at
    // Benches and tests: this way whatever the size, where the ranks have peer memory.
    std::optional<Algorithm> algorithm;
  };

  static Result<std::unique_ptr<NcclEndpoint>> open(PeerMemory& memory, const Options& options);

  std::string address() const override { return address_; }
  // Also kInvalidArgument: two ranks on one device, which NCCL does not know.
  Result<std::unique_ptr<TpGroup>> form(int32_t rank, const std::vector<std::string>& addresses,
                                        Epoch epoch, int64_t timeout_ms = kGroupTimeoutMs) override;
  std::function<void()> aborter() const override;

 private:
  NcclEndpoint(PeerMemory& memory, const Options& options) : memory_(memory), options_(options) {}
  Result<std::unique_ptr<TpGroup>> form_group(int32_t rank,
                                              const std::vector<RankAddress>& addresses,
                                              int64_t timeout_ms);

  PeerMemory& memory_;
  const Options options_;
  std::shared_ptr<AbortEvent> aborted_;  // with whoever may abort while the group forms
  std::string address_;
};

}  // namespace mimo::parallel::cuda
