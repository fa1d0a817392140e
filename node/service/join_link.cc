#include "node/service/join_link.h"

#include <grpcpp/create_channel.h>

#include <deque>
#include <mutex>
#include <utility>

#include "mimo/v1/cluster.grpc.pb.h"

namespace mimo::node {
namespace {

constexpr size_t kMessagesWaitingMax = 100;

class Link final : public JoinLink,
                   public grpc::ClientBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage> {
 public:
  Link(const std::string& coordinator, Handlers handlers) : handlers_(std::move(handlers)) {
    // Each dial stands for itself: the worker has its own back-off between them.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    stub_ = v1::Registry::NewStub(
        grpc::CreateCustomChannel(coordinator, grpc::InsecureChannelCredentials(), arguments));
  }

  void start(v1::WorkerHello hello, std::shared_ptr<Link> self) {
    std::lock_guard lock(mutex_);
    self_ = std::move(self);
    stub_->async()->Join(&context_, this);
    v1::WorkerMessage first;
    *first.mutable_hello() = std::move(hello);
    outgoing_.push_back(std::move(first));
    AddHold();  // messages are written from outside of gRPC's callbacks
    held_ = true;
    StartRead(&incoming_);
    write_locked();
    StartCall();
  }

  void read_next() override {
    std::lock_guard lock(mutex_);
    if (held_) StartRead(&incoming_);
  }

  void send(v1::WorkerMessage message) override {
    std::lock_guard lock(mutex_);
    if (!held_ || finishing_) return;
    if (outgoing_.size() >= kMessagesWaitingMax) {
      cut_locked();
      return;
    }
    outgoing_.push_back(std::move(message));
    if (!writing_) write_locked();
  }

  void finish() override {
    std::lock_guard lock(mutex_);
    if (!held_ || std::exchange(finishing_, true)) return;
    if (!writing_) StartWritesDone();
  }

  void cut() override {
    std::lock_guard lock(mutex_);
    cut_locked();
  }

  void OnReadDone(bool ok) override {
    if (ok) {
      handlers_.on_message(std::move(incoming_));
      return;
    }
    std::lock_guard lock(mutex_);
    let_go_locked();
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok || !held_) {
      let_go_locked();
    } else if (!outgoing_.empty()) {
      write_locked();
    } else if (finishing_) {
      StartWritesDone();
    }
  }

  void OnDone(const grpc::Status& status) override {
    std::shared_ptr<Link> self;
    {
      std::lock_guard lock(mutex_);
      self = std::move(self_);
    }
    const Error error = status.ok()
                            ? unavailable("the coordinator ended the stream")
                            : Error{static_cast<Code>(status.error_code()), status.error_message()};
    // Not through a member of what is given away.
    const auto on_ended = handlers_.on_ended;
    on_ended(error, std::move(self));
  }

 private:
  void write_locked() {
    writing_ = true;
    on_wire_ = std::move(outgoing_.front());
    outgoing_.pop_front();
    StartWrite(&on_wire_);
  }

  void cut_locked() {
    if (held_) context_.TryCancel();
    let_go_locked();
  }

  void let_go_locked() {
    if (std::exchange(held_, false)) RemoveHold();
  }

  const Handlers handlers_;
  grpc::ClientContext context_;
  std::unique_ptr<v1::Registry::Stub> stub_;
  v1::CoordinatorMessage incoming_;
  // Callers, reads and writes are on different threads; a queue is what this is.
  std::mutex mutex_;
  std::deque<v1::WorkerMessage> outgoing_;
  v1::WorkerMessage on_wire_;
  std::shared_ptr<Link> self_;  // gRPC's share, given up in OnDone()
  bool writing_ = false;
  bool finishing_ = false;
  bool held_ = false;  // the stream has not ended
};

}  // namespace

std::shared_ptr<JoinLink> JoinLink::dial(const std::string& coordinator, v1::WorkerHello hello,
                                         Handlers handlers) {
  auto link = std::make_shared<Link>(coordinator, std::move(handlers));
  link->start(std::move(hello), link);
  return link;
}

}  // namespace mimo::node
