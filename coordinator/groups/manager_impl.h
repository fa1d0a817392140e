#pragma once

#include <grpcpp/server.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "coordinator/groups/group_life.h"
#include "coordinator/groups/group_manager.h"
#include "coordinator/groups/leader_link.h"
#include "coordinator/groups/registry_service.h"
#include "coordinator/groups/sink_gate.h"

namespace mimo::coordinator {

// The wire around a GroupLife: turns messages into its events and its actions into messages.
//
// Thread:    the owner thread has everything but what is said to be shared.
class ManagerImpl final : public GroupManager {
 public:
  ManagerImpl(Options options, LeaderSink sink);
  ~ManagerImpl() override;

  Result<void> start();

  Result<void> submit(v1::Submit submit) override;
  void cancel(int64_t sequence_id) override;
  std::string cluster_address() const override { return address_; }
  GroupStatus status() const override;
  void shutdown_workers() override;

 private:
  struct Connected {
    StreamId stream;
  };
  struct Said {
    StreamId stream;
    v1::WorkerMessage message;
  };
  struct Gone {
    StreamId stream;
    Error error;
  };
  struct LinkDone {
    life::LeaderLost lost;
    std::shared_ptr<LeaderLink> link;  // to be dropped by the owner thread
  };
  struct Stop {};
  using Input =
      std::variant<Connected, Said, Gone, life::LeaderOpened, LinkDone, life::ShutDown, Stop>;

  // A stream that has said hello, or may still do so.
  struct Peer {
    int64_t since_ns = 0;
    bool greeted = false;
    v1::WorkerHello hello;
    v1::Heartbeat heartbeat;
  };
  using Inbox = BoundedQueue<Input>;

  void run();
  void on(const Connected& input);
  void on(Said& input);
  void on(const Gone& input);
  void on(const life::LeaderOpened& input) { feed(input); }
  void on(LinkDone& input);
  void on(const life::ShutDown& input) { feed(input); }
  void on(const Stop& input);
  void on_hello(StreamId stream, Peer& peer, const v1::WorkerHello& hello);
  void on_message(StreamId stream, Peer& peer, const v1::WorkerMessage& message);
  void drop_silent_peers();

  void feed(const LifeEvent& event);
  void act(const life::SendAssign& action);
  void act(const life::SendForm& action);
  void act(const life::SendEnd& action);
  void act(const life::SendShutdown& action);
  void act(const life::HangUp& action);
  void act(const life::OpenLeader& action);
  void act(const life::StartServing& action);
  void act(const life::CloseLeader& action);
  void act(const life::LogEvent& action);
  void publish();

  const Options options_;
  const std::string shard_key_;
  const SystemClock clock_;
  const std::shared_ptr<SinkGate> gate_;
  const std::shared_ptr<Inbox> inbox_;  // shared with links whose streams end after this
  RegistryService service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;

  // The owner thread's.
  GroupLife life_;
  std::map<StreamId, Peer> peers_;
  std::shared_ptr<LeaderLink> opening_;  // of the epoch under way; gRPC has a share too
  int32_t num_links_ = 0;                // that gRPC still has
  bool stopping_ = false;
  int64_t stop_by_ns_ = 0;

  // Read by any thread at any time, and one value each: a queue would add a wait.
  mutable std::mutex shared_mutex_;
  std::shared_ptr<LeaderLink> serving_;  // null: no group serves
  GroupStatus status_;

  std::thread owner_;
};

}  // namespace mimo::coordinator
