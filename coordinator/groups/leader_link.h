#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "mimo/v1/cluster.pb.h"

namespace mimo::coordinator {

// The stream to the leader of one epoch. Requests go through a bounded queue; requests that wait
// are written together.
//
// Thread:    any. Handlers are called from gRPC's threads and must not block.
// Lifetime:  gRPC keeps it until the stream has ended; handlers may be called until then, so they
//            hold on to what they use. It is not destroyed in a callback: with the last channel of
//            a process goes the thread that runs the callbacks, which cannot wait for itself.
class LeaderLink {
 public:
  struct Handlers {
    std::function<void()> on_opened;  // the leader has accepted the epoch
    std::function<void(const v1::LeaderEvents&)> on_events;
    // Once, last; also after close(). gRPC's share of the link comes back.
    std::function<void(const Error&, std::shared_ptr<LeaderLink>)> on_lost;
  };

  static std::shared_ptr<LeaderLink> open(const std::string& address, int64_t epoch,
                                          int64_t queue_max, Handlers handlers);
  virtual ~LeaderLink() = default;

  // kResourceExhausted: queue_max requests wait. kUnavailable: the stream has ended.
  virtual Result<void> submit(v1::Submit submit) = 0;
  // Goes also to a full queue: a cancel that is lost would cost a whole answer. The stream ends
  // when as many cancels again as queue_max wait.
  virtual void cancel(int64_t sequence_id) = 0;
  // The stream ends soon. Safe to call twice.
  virtual void close() = 0;
};

}  // namespace mimo::coordinator
