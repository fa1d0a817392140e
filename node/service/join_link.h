#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "mimo/v1/cluster.pb.h"

namespace mimo::node {

// One stream to the coordinator, from the dial to its end.
//
// Thread:    any. Handlers are called from gRPC's threads and only post.
// Lifetime:  gRPC keeps it until the stream has ended; handlers may be called until then, so they
//            hold on to what they use. It is not destroyed in a callback: with the last channel of
//            a process goes the thread that runs the callbacks, which cannot wait for itself.
// Invariant: one message at a time is handed over: the first by itself, each next one after
//            read_next().
class JoinLink {
 public:
  struct Handlers {
    std::function<void(v1::CoordinatorMessage)> on_message;
    // Once, last. gRPC's share of the link comes back.
    std::function<void(const Error&, std::shared_ptr<JoinLink>)> on_ended;
  };

  // Answers at once; a coordinator that is not there ends the stream. The hello goes first.
  static std::shared_ptr<JoinLink> dial(const std::string& coordinator, v1::WorkerHello hello,
                                        Handlers handlers);
  virtual ~JoinLink() = default;

  virtual void read_next() = 0;
  // A stream whose peer does not read for so long that a hundred messages wait is cut.
  virtual void send(v1::WorkerMessage message) = 0;
  // What was sent is still delivered, then the stream ends.
  virtual void finish() = 0;
  // The stream ends soon.
  virtual void cut() = 0;
};

}  // namespace mimo::node
