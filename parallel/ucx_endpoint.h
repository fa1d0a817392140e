#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "parallel/group_endpoint.h"

namespace mimo::parallel {

class UcxWorker;

// Ranks as processes on the CPU, over UCX. Blocks while it waits, never spins.
//
// Thread:    one at a time; what aborter() gave any.
class UcxEndpoint final : public GroupEndpoint {
 public:
  struct Options {
    // The address of the network interface to use, "127.0.0.1" or "10.0.0.3"; empty: every
    // interface that is up, and UCX picks for each peer.
    std::string bind_host;
    // UCX transports. "tcp" reports a lost peer; shared memory does not by default.
    std::string transports = "tcp";
    // Bytes of one TCP send and one receive inside UCX.
    int64_t segment_bytes = 256 * 1024;
  };

  // kInvalidArgument when no interface has bind_host; kUnavailable when UCX finds no device.
  static Result<std::unique_ptr<UcxEndpoint>> open(const Options& options);
  ~UcxEndpoint() override;
  UcxEndpoint(const UcxEndpoint&) = delete;
  UcxEndpoint& operator=(const UcxEndpoint&) = delete;

  // Printable ASCII, a few hundred characters.
  std::string address() const override { return address_; }
  // Also kFailedPrecondition: a peer is of a newer epoch. A time-out names the ranks that did not
  // come.
  Result<std::unique_ptr<TpGroup>> form(int32_t rank, const std::vector<std::string>& addresses,
                                        Epoch epoch, int64_t timeout_ms = kGroupTimeoutMs) override;
  std::function<void()> aborter() const override;

 private:
  UcxEndpoint(std::unique_ptr<UcxWorker> worker, std::string address);

  std::unique_ptr<UcxWorker> worker_;
  std::string address_;
};

}  // namespace mimo::parallel
