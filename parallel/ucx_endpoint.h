#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace mimo::parallel {

class UcxWorker;

// This process's end of a UCX group before the group is known: open it, send address() to whoever
// collects the ranks' addresses, then hand it to UcxGroup::form. One endpoint serves one formation.
//
// Thread:    one at a time.
class UcxEndpoint final {
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
  ~UcxEndpoint();
  UcxEndpoint(const UcxEndpoint&) = delete;
  UcxEndpoint& operator=(const UcxEndpoint&) = delete;

  // Printable ASCII, a few hundred characters. The same for every peer.
  const std::string& address() const { return address_; }

  // Call it from any thread, now or later: UcxGroup::form() with this endpoint, and every operation
  // of the group, answers kUnavailable as after TpGroup::abort().
  std::function<void()> aborter() const;

 private:
  friend class UcxGroup;
  UcxEndpoint(std::unique_ptr<UcxWorker> worker, std::string address);

  std::unique_ptr<UcxWorker> worker_;
  std::string address_;
};

}  // namespace mimo::parallel
