#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/units.h"
#include "parallel/tp_group.h"
#include "parallel/ucx_endpoint.h"

namespace mimo::parallel {

// Ranks as processes on the CPU, over UCX. Blocks while it waits, never spins.
//
// Every rank opens a UcxEndpoint, somebody collects the addresses, and every rank forms the group
// with the same list and the same epoch.
class UcxGroup final {
 public:
  // Joins the group and returns when every rank has. `addresses[r]` is rank r's
  // UcxEndpoint::address(); `timeout_ms` bounds this call and each later operation.
  //
  // kInvalidArgument: rank, size or an address makes no sense. kFailedPrecondition: a peer is of a
  // newer epoch. kDeadlineExceeded: names the ranks that did not come. kUnavailable: a peer was
  // there and is lost.
  static Result<std::unique_ptr<TpGroup>> form(std::unique_ptr<UcxEndpoint> endpoint, int32_t rank,
                                               std::vector<std::string> addresses, Epoch epoch,
                                               int64_t timeout_ms = kGroupTimeoutMs);
};

}  // namespace mimo::parallel
