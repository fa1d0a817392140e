#include "coordinator/groups/leader_link.h"

#include <grpcpp/create_channel.h>

#include <deque>
#include <mutex>
#include <utility>

#include "mimo/v1/cluster.grpc.pb.h"

namespace mimo::coordinator {
namespace {

// A worker's ports change owners when it is started again, so each epoch dials for itself: no
// connection and no back-off is shared with an earlier one.
std::shared_ptr<grpc::Channel> make_channel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(-1);  // a step's logprobs of whole vocabularies
  arguments.SetMaxSendMessageSize(-1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

class Link final : public LeaderLink,
                   public grpc::ClientBidiReactor<v1::LeaderRequest, v1::LeaderEvents> {
 public:
  Link(const std::string& address, int64_t queue_max, Handlers handlers)
      : queue_max_(static_cast<size_t>(queue_max)),
        handlers_(std::move(handlers)),
        stub_(v1::Leader::NewStub(make_channel(address))) {}

  void start(int64_t epoch, std::shared_ptr<Link> self) {
    std::lock_guard lock(mutex_);
    self_ = std::move(self);
    stub_->async()->Serve(&context_, this);
    v1::LeaderRequest open;
    open.mutable_open()->set_epoch(epoch);
    outgoing_.push_back(std::move(open));
    AddHold();  // requests are written from outside of gRPC's callbacks
    held_ = true;
    StartRead(&incoming_);
    write_locked();
    StartCall();
  }

  Result<void> submit(v1::Submit submit) override {
    std::lock_guard lock(mutex_);
    if (ended_) return unavailable("the leader's stream has ended");
    if (outgoing_.size() >= queue_max_) {
      return Error{Code::kResourceExhausted,
                   std::to_string(outgoing_.size()) + " requests wait for the leader, the bound"};
    }
    v1::LeaderRequest request;
    *request.mutable_submit() = std::move(submit);
    push_locked(std::move(request));
    return {};
  }

  void cancel(int64_t sequence_id) override {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    if (outgoing_.size() >= 2 * queue_max_) {
      end_locked();
      return;
    }
    v1::LeaderRequest request;
    request.mutable_cancel()->set_sequence_id(sequence_id);
    push_locked(std::move(request));
  }

  void close() override {
    std::lock_guard lock(mutex_);
    end_locked();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      // The stream has ended by itself; a cancel now could hide the leader's reason.
      std::lock_guard lock(mutex_);
      let_go_locked();
      return;
    }
    // The first message says that the epoch is open and carries nothing else.
    if (std::exchange(opened_, true)) {
      handlers_.on_events(incoming_);
    } else {
      handlers_.on_opened();
    }
    std::lock_guard lock(mutex_);
    incoming_.Clear();
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) {
      end_locked();
    } else if (!ended_ && !outgoing_.empty()) {
      write_locked();
    }
  }

  void OnDone(const grpc::Status& status) override {
    std::shared_ptr<Link> self;
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
      self = std::move(self_);
    }
    const Error error = status.ok()
                            ? unavailable("the leader ended the stream")
                            : Error{static_cast<Code>(status.error_code()), status.error_message()};
    // Not through a member of what is given away.
    const auto on_lost = handlers_.on_lost;
    on_lost(error, std::move(self));
  }

 private:
  void push_locked(v1::LeaderRequest request) {
    outgoing_.push_back(std::move(request));
    if (!writing_) write_locked();
  }

  void write_locked() {
    writing_ = true;
    on_wire_ = std::move(outgoing_.front());
    outgoing_.pop_front();
    grpc::WriteOptions options;
    if (!outgoing_.empty()) options.set_buffer_hint();  // more follows at once
    StartWrite(&on_wire_, options);
  }

  void end_locked() {
    if (held_) context_.TryCancel();
    let_go_locked();
  }

  void let_go_locked() {
    ended_ = true;
    if (std::exchange(held_, false)) RemoveHold();
  }

  const size_t queue_max_;
  const Handlers handlers_;
  grpc::ClientContext context_;
  const std::unique_ptr<v1::Leader::Stub> stub_;
  bool opened_ = false;  // only reads touch it, and they come one after another
  v1::LeaderEvents incoming_;
  // Callers, reads and writes are on different threads; a queue is what this is.
  std::mutex mutex_;
  std::deque<v1::LeaderRequest> outgoing_;
  v1::LeaderRequest on_wire_;
  std::shared_ptr<Link> self_;  // gRPC's share, given up in OnDone()
  bool writing_ = false;
  bool held_ = false;
  bool ended_ = false;
};

}  // namespace

std::shared_ptr<LeaderLink> LeaderLink::open(const std::string& address, int64_t epoch,
                                             int64_t queue_max, Handlers handlers) {
  auto link = std::make_shared<Link>(address, queue_max, std::move(handlers));
  link->start(epoch, link);
  return link;
}

}  // namespace mimo::coordinator
