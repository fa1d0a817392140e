#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "parallel/cuda/peer_kernels.h"
#include "parallel/cuda/peer_memory.h"
#include "parallel/cuda/rank_address.h"

namespace mimo::parallel::cuda {

// The other ranks' PeerMemory, mapped into this process.
//
// Thread:    one at a time.
// Lifetime:  no kernel uses the table any more when this goes.
class PeerMappings final {
 public:
  // An Error says why there can be none: a rank on another host, too many ranks, no peer access.
  static Result<std::unique_ptr<PeerMappings>> open(const PeerMemory& own, int32_t rank,
                                                    const std::vector<RankAddress>& addresses,
                                                    int64_t timeout_ms);
  ~PeerMappings();
  PeerMappings(const PeerMappings&) = delete;
  PeerMappings& operator=(const PeerMappings&) = delete;

  const PeerTable& table() const { return table_; }

 private:
  explicit PeerMappings(int32_t device) : device_(device) {}

  const int32_t device_;
  PeerTable table_ = {};
};

}  // namespace mimo::parallel::cuda
