#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/sessions/generate_spec.h"
#include "coordinator/sessions/outbox.h"
#include "coordinator/sessions/request_error.h"
#include "coordinator/sessions/session.h"

namespace mimo::coordinator {

// Carries one session's messages to its client: a gRPC stream, or a test.
//
// Thread:   any.
// Lifetime: between a prepare() that was true and its write() the writer lives.
class StreamWriter {
 public:
  virtual ~StreamWriter() = default;
  // With the session's mutex held: takes what is to be written next, if nothing is being written.
  // True: the same thread calls write() when it has let the mutex go.
  virtual bool prepare() = 0;
  // Without the mutex, which the write's end takes on another thread at once. Must not block.
  virtual void write() = 0;
  // With the mutex: the client has not read for too long, the stream is given up.
  virtual void cut() = 0;
};

// One request between its stream and the leader.
//
// Thread:    any, with `mutex` held. A mutex: leader's events, the stream's callbacks and Abort
// meet
//            here, and each needs the other's effect at once (a cancelled stream must not be
//            written); a queue would put a thread's wake between a token and its write.
// Lifetime:  shared by the table, the stream and whoever handles an event of it just now.
struct LiveSession {
  enum class State : uint8_t { kOpening, kRunning, kClosed };

  explicit LiveSession(StreamWriter& stream) : writer(&stream), outbox("") {}

  std::mutex mutex;
  State state = State::kOpening;
  StreamWriter* writer;  // nullptr when the stream is done
  GenerateSpec spec;     // until session is made of it
  std::optional<Session> session;
  Outbox outbox;
  std::optional<RequestError> error;  // closed with; nothing = finished well
  // The error needs no message: nothing was sent, and a bare status lets gRPC's own retry act.
  bool bare_error = false;

  // Set once, before others see it.
  std::string request_id;
  int64_t number = 0;         // in the table
  int32_t num_sequences = 0;  // let in by admission; 0 when it was not
  int64_t opened_ns = 0;

  int64_t closed_ns = 0;
  int64_t first_token_ns = 0;
  std::vector<int64_t> last_token_ns;  // an output; 0 = none yet
  bool touched = false;                // by the events thread, in this batch of events
};

// A session's mutex, and the write that follows when it is let go.
class LockedSession final {
 public:
  explicit LockedSession(LiveSession& live) : live_(live), lock_(live.mutex) {}
  ~LockedSession() {
    if (writer_ == nullptr) return;
    lock_.unlock();
    writer_->write();
  }
  LockedSession(const LockedSession&) = delete;
  LockedSession& operator=(const LockedSession&) = delete;

  // The outbox is ready, or the session has closed.
  void wake() {
    if (live_.writer != nullptr && live_.writer->prepare()) writer_ = live_.writer;
  }
  LiveSession* operator->() const { return &live_; }
  LiveSession& operator*() const { return live_; }

 private:
  LiveSession& live_;
  std::unique_lock<std::mutex> lock_;
  StreamWriter* writer_ = nullptr;
};

}  // namespace mimo::coordinator
