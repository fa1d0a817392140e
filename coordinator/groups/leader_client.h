#pragma once

#include <cstdint>
#include <functional>

#include "base/result.h"
#include "mimo/v1/cluster.pb.h"

namespace mimo::coordinator {

// What sessions need of the serving group. The real one speaks Leader.Serve over gRPC; tests and
// the front door's bench put a leader in the same process behind it.
//
// Thread: any.
class LeaderClient {
 public:
  virtual ~LeaderClient() = default;

  // Queued for the leader, in order. kUnavailable: no group serves now. kResourceExhausted: the
  // queue to the leader is full. A refusal by the leader comes as the sequence's error event.
  virtual Result<void> submit(v1::Submit submit) = 0;
  // Ends the sequence; its last event may still come. Unknown ids are ignored.
  virtual void cancel(int64_t sequence_id) = 0;
};

// Where the leader's answers go. Called from one thread at a time; must not block.
struct LeaderSink {
  std::function<void(const v1::LeaderEvents&)> on_events;
  // The epoch is over: every sequence submitted in it has ended; none of them gets another event.
  std::function<void(const Error&)> on_lost;
  // A group serves (again).
  std::function<void(int64_t epoch)> on_serving;
};

}  // namespace mimo::coordinator
