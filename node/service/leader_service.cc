#include "node/service/leader_service.h"

#include <deque>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "node/service/convert.h"

namespace mimo::node {
namespace {

// One Serve stream.
//
// Thread:    any; gRPC calls the On... functions, and runs none of them inside a Start... call.
//            No lock is held while the desk is called, since the desk calls send() and end().
// Lifetime:  shared by gRPC (until OnDone) and the desk.
class Stream final : public grpc::ServerBidiReactor<v1::LeaderRequest, v1::LeaderEvents>,
                     public LeaderStreamEnd,
                     public std::enable_shared_from_this<Stream> {
 public:
  Stream(LeaderDesk& desk, int64_t waiting_bytes_max)
      : desk_(desk), waiting_bytes_max_(waiting_bytes_max) {}

  void start() {
    std::lock_guard lock(mutex_);
    self_ = shared_from_this();
    StartRead(&incoming_);
  }

  bool send(const std::vector<SequenceEvent>& events, int64_t step) override {
    v1::LeaderEvents message = to_proto(events, step);
    std::lock_guard lock(mutex_);
    return push_locked(std::move(message));
  }

  void end(const Error& reason) override {
    std::lock_guard lock(mutex_);
    end_locked(reason);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      over(unavailable("the coordinator ended the stream"));
      return;
    }
    handle(incoming_);
    std::lock_guard lock(mutex_);
    incoming_.Clear();
    if (!finished_) StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) over(unavailable("the stream broke"));
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (ending_.code != Code::kOk) {
      // Events that wait come before the end, unless nobody reads any more.
      if (!ok || outgoing_.empty()) {
        finish_locked();
        return;
      }
    }
    if (!outgoing_.empty()) write_locked();
  }

  void OnCancel() override { over(unavailable("the stream broke")); }

  void OnDone() override {
    desk_.close(this);
    std::shared_ptr<Stream> self;  // outlives the lock
    std::lock_guard lock(mutex_);
    self = std::move(self_);
  }

 private:
  void handle(const v1::LeaderRequest& request) {
    if (request.has_open() != !open_) {
      end({Code::kInvalidArgument,
           open_ ? "a second open on one stream" : "the first request was not open"});
      return;
    }
    switch (request.message_case()) {
      case v1::LeaderRequest::kOpen: {
        const Result<void> opened = desk_.open(Epoch{request.open().epoch()}, shared_from_this());
        if (!opened.ok()) {
          end(opened.error());
          return;
        }
        open_ = true;
        std::lock_guard lock(mutex_);
        push_locked({});
        return;
      }
      case v1::LeaderRequest::kSubmit: {
        const Result<void> taken = desk_.submit(this, to_request(request.submit()));
        if (taken.ok()) return;
        v1::LeaderEvents message;
        *message.add_events() = refusal(request.submit().sequence_id(), taken.error());
        std::lock_guard lock(mutex_);
        push_locked(std::move(message));
        return;
      }
      case v1::LeaderRequest::kCancel:
        desk_.abort(this, SequenceId{request.cancel().sequence_id()});
        return;
      default:
        end({Code::kUnimplemented, "a request of a kind that this worker does not know"});
    }
  }

  void over(const Error& reason) {
    desk_.close(this);
    std::lock_guard lock(mutex_);
    clear_locked();
    end_locked(reason);
  }

  void clear_locked() {
    outgoing_.clear();
    waiting_bytes_ = 0;
  }

  bool push_locked(v1::LeaderEvents message) {
    if (ending_.code != Code::kOk) return false;
    const auto bytes = static_cast<int64_t>(message.ByteSizeLong());
    if (waiting_bytes_ + bytes > waiting_bytes_max_ && waiting_bytes_ > 0) {
      const Error slow{Code::kResourceExhausted,
                       "the coordinator reads too slowly: " + std::to_string(waiting_bytes_) +
                           " bytes of events wait"};
      log_warning("leader_stream_ended", {{"reason", slow.message}});
      clear_locked();
      end_locked(slow);
      return false;
    }
    waiting_bytes_ += bytes;
    outgoing_.push_back(std::move(message));
    if (!writing_) write_locked();
    return true;
  }

  void write_locked() {
    writing_ = true;
    on_wire_ = std::move(outgoing_.front());
    outgoing_.pop_front();
    waiting_bytes_ -= static_cast<int64_t>(on_wire_.ByteSizeLong());
    StartWrite(&on_wire_);
  }

  void end_locked(const Error& reason) {
    if (ending_.code != Code::kOk) return;
    ending_ = reason;
    if (!writing_ && outgoing_.empty()) finish_locked();
  }

  void finish_locked() {
    if (std::exchange(finished_, true)) return;
    Finish({static_cast<grpc::StatusCode>(ending_.code), ending_.message});
  }

  LeaderDesk& desk_;
  const int64_t waiting_bytes_max_;
  bool open_ = false;  // only reads touch it, and they come one after another
  v1::LeaderRequest incoming_;
  // The engine's events, gRPC's reads and its writes are on different threads; a queue is what
  // this is.
  std::mutex mutex_;
  std::deque<v1::LeaderEvents> outgoing_;
  v1::LeaderEvents on_wire_;
  int64_t waiting_bytes_ = 0;
  Error ending_{Code::kOk, ""};
  bool writing_ = false;
  bool finished_ = false;
  std::shared_ptr<Stream> self_;  // gRPC's share, given up in OnDone()
};

}  // namespace

grpc::ServerBidiReactor<v1::LeaderRequest, v1::LeaderEvents>* LeaderService::Serve(
    grpc::CallbackServerContext* /*context*/) {
  auto stream = std::make_shared<Stream>(desk_, waiting_bytes_max_);
  stream->start();
  return stream.get();
}

}  // namespace mimo::node
