#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>

#include "base/result.h"
#include "coordinator/groups/life_events.h"
#include "mimo/v1/cluster.grpc.pb.h"

namespace mimo::coordinator {

class JoinStream;

// The Registry service: one stream a worker. It knows nothing of groups; whatever comes is handed
// to the owner thread, and the owner answers.
//
// Thread:    any. Handlers are called from gRPC's threads and only post.
// Lifetime:  close(), then the server's shutdown, then the destructor.
// Invariant: a stream has at most one message and one end in the owner's queue: the next message is
//            read when the owner asks for it.
class RegistryService final : public v1::Registry::CallbackService {
 public:
  // In this order for each stream; on_gone exactly once, and last.
  struct Handlers {
    std::function<void(StreamId)> on_connected;
    std::function<void(StreamId, v1::WorkerMessage)> on_message;
    std::function<void(StreamId, Error)> on_gone;
  };

  RegistryService(int32_t streams_max, Handlers handlers);
  ~RegistryService() override;

  // Streams that are gone are ignored by these three.
  void send(StreamId stream, v1::CoordinatorMessage message);
  void read_next(StreamId stream);
  void hang_up(StreamId stream, const Error& reason);
  // The owner has seen on_gone of this stream: another one may take its place.
  void release();

  // New streams are refused, those that are there end; true when all have within `timeout_ms`.
  bool close(int64_t timeout_ms);

  grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>* Join(
      grpc::CallbackServerContext* context) override;

 private:
  friend class JoinStream;
  void remove(StreamId stream);

  const int32_t streams_max_;
  const Handlers handlers_;
  // gRPC creates and destroys streams from its own threads, so that the owner's queue cannot guard
  // the table that finds them.
  std::mutex mutex_;
  std::condition_variable empty_;
  std::map<StreamId, JoinStream*> streams_;
  int64_t next_stream_ = 1;
  int32_t num_unreleased_ = 0;
  bool closed_ = false;
};

}  // namespace mimo::coordinator
