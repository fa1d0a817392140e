#include "coordinator/groups/registry_service.h"

#include <chrono>
#include <deque>
#include <utility>

#include "base/check.h"

namespace mimo::coordinator {
namespace {

using JoinReactor = grpc::ServerBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage>;

// A worker that does not read so many messages is as good as lost.
constexpr size_t kMessagesWaitingMax = 64;

grpc::Status to_status(const Error& error) {
  return {static_cast<grpc::StatusCode>(error.code), error.message};
}

class RefusedStream final : public JoinReactor {
 public:
  explicit RefusedStream(const Error& error) { Finish(to_status(error)); }
  void OnDone() override { delete this; }
};

}  // namespace

// One worker's stream.
//
// Thread:    any; gRPC calls the On... functions, and runs none of them inside a Start... call.
// Lifetime:  deletes itself in OnDone(), which gRPC calls last.
class JoinStream final : public JoinReactor {
 public:
  JoinStream(RegistryService& service, StreamId id, grpc::CallbackServerContext* context)
      : service_(service), id_(id), context_(context) {}

  void read_next() {
    std::lock_guard lock(mutex_);
    if (!finished_) StartRead(&incoming_);
  }

  void send(v1::CoordinatorMessage message) {
    std::lock_guard lock(mutex_);
    if (finished_) return;
    if (outgoing_.size() >= kMessagesWaitingMax) {
      context_->TryCancel();
      return;
    }
    outgoing_.push_back(std::move(message));
    if (!writing_) write_locked();
  }

  void hang_up(const Error& reason) {
    std::lock_guard lock(mutex_);
    if (finished_) return;
    outgoing_.clear();
    ending_ = reason;
    // After the write that is under way, so that the worker hears the reason.
    if (!writing_) finish_locked();
  }

  void OnReadDone(bool ok) override {
    {
      std::lock_guard lock(mutex_);
      if (!ok) {
        if (!writing_) finish_locked();
        ended_by_peer_ = true;
      }
    }
    if (ok) {
      service_.handlers_.on_message(id_, std::move(incoming_));
    } else {
      gone(unavailable("the stream broke"));
    }
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok || ended_by_peer_ || ending_.code != Code::kOk) {
      finish_locked();
    } else if (!outgoing_.empty()) {
      write_locked();
    }
  }

  void OnCancel() override {
    {
      std::lock_guard lock(mutex_);
      if (!writing_) finish_locked();
      ended_by_peer_ = true;
    }
    gone(unavailable("the stream broke"));
  }

  void OnDone() override {
    gone(unavailable("the stream ended"));
    service_.remove(id_);
    delete this;
  }

 private:
  void write_locked() {
    writing_ = true;
    on_wire_ = std::move(outgoing_.front());
    outgoing_.pop_front();
    StartWrite(&on_wire_);
  }

  void finish_locked() {
    if (std::exchange(finished_, true)) return;
    Finish(to_status(ending_));
  }

  void gone(Error reason) {
    {
      std::lock_guard lock(mutex_);
      if (std::exchange(told_gone_, true)) return;
    }
    service_.handlers_.on_gone(id_, std::move(reason));
  }

  RegistryService& service_;
  const StreamId id_;
  grpc::CallbackServerContext* const context_;
  // gRPC runs reads and writes on different threads; they meet here and nowhere else.
  std::mutex mutex_;
  v1::WorkerMessage incoming_;
  std::deque<v1::CoordinatorMessage> outgoing_;
  v1::CoordinatorMessage on_wire_;
  Error ending_{Code::kOk, ""};
  bool writing_ = false;
  bool ended_by_peer_ = false;
  bool finished_ = false;
  bool told_gone_ = false;
};

RegistryService::RegistryService(int32_t streams_max, Handlers handlers)
    : streams_max_(streams_max), handlers_(std::move(handlers)) {}

RegistryService::~RegistryService() { CHECK(streams_.empty()); }

JoinReactor* RegistryService::Join(grpc::CallbackServerContext* context) {
  std::unique_lock lock(mutex_);
  if (closed_) return new RefusedStream(unavailable("the coordinator shuts down"));
  if (num_unreleased_ >= streams_max_) {
    return new RefusedStream({Code::kResourceExhausted, std::to_string(num_unreleased_) +
                                                            " workers are connected, the bound"});
  }
  ++num_unreleased_;
  const StreamId id{next_stream_++};
  auto* stream = new JoinStream(*this, id, context);
  streams_[id] = stream;
  // Under the lock, so that the owner finds the stream before its first message, and on_gone comes
  // after on_connected.
  handlers_.on_connected(id);
  return stream;
}

void RegistryService::send(StreamId stream, v1::CoordinatorMessage message) {
  std::lock_guard lock(mutex_);
  const auto at = streams_.find(stream);
  if (at != streams_.end()) at->second->send(std::move(message));
}

void RegistryService::read_next(StreamId stream) {
  std::lock_guard lock(mutex_);
  const auto at = streams_.find(stream);
  if (at != streams_.end()) at->second->read_next();
}

void RegistryService::hang_up(StreamId stream, const Error& reason) {
  std::lock_guard lock(mutex_);
  const auto at = streams_.find(stream);
  if (at != streams_.end()) at->second->hang_up(reason);
}

void RegistryService::release() {
  std::lock_guard lock(mutex_);
  CHECK_GT(num_unreleased_, 0);
  --num_unreleased_;
}

bool RegistryService::close(int64_t timeout_ms) {
  std::unique_lock lock(mutex_);
  closed_ = true;
  for (const auto& [id, stream] : streams_) {
    stream->hang_up(unavailable("the coordinator shuts down"));
  }
  return empty_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                         [&] { return streams_.empty(); });
}

void RegistryService::remove(StreamId stream) {
  std::lock_guard lock(mutex_);
  streams_.erase(stream);
  if (streams_.empty()) empty_.notify_all();
}

}  // namespace mimo::coordinator
