#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "parallel/tp_group.h"

namespace mimo::parallel {

// This process's end of a group before the group is known: open one, send address() to whoever
// collects the ranks' addresses, then form(). One endpoint serves one formation.
//
// Thread:    one at a time; what aborter() gave any.
class GroupEndpoint {
 public:
  virtual ~GroupEndpoint() = default;

  // Bytes for the other ranks, the same for each of them.
  virtual std::string address() const = 0;

  // Joins the group and returns when every rank has. addresses[r] is rank r's address();
  // `timeout_ms` bounds this call and each later operation of the group. The group may outlive the
  // endpoint, which is of no more use.
  //
  // kInvalidArgument: rank, size or an address makes no sense. kDeadlineExceeded: not every rank
  // came. kUnavailable: a peer was there and is lost, or the aborter was called.
  virtual Result<std::unique_ptr<TpGroup>> form(int32_t rank,
                                                const std::vector<std::string>& addresses,
                                                Epoch epoch, int64_t timeout_ms) = 0;

  // Asked for before form(). Call it from any thread, then or later: form(), and every operation of
  // the group, answers kUnavailable as after TpGroup::abort().
  virtual std::function<void()> aborter() const = 0;
};

}  // namespace mimo::parallel
