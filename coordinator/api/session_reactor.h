#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "coordinator/api/wire_status.h"
#include "coordinator/sessions/live_session.h"
#include "coordinator/sessions/sessions.h"

namespace mimo::coordinator {

// One stream of a session: writes what its outbox has, one message at a time, and ends with the
// session's status. `Translate` makes an outbox's message none, one or several responses:
// void operator()(v1::GenerateResponse message, std::deque<Response>* out).
//
// Thread:    gRPC's and the events thread; the session's mutex guards the members.
// Lifetime:  deletes itself when gRPC is done with the call; `sessions` outlives every call.
template <typename Response, typename Translate>
class SessionReactor final : public grpc::ServerWriteReactor<Response>, public StreamWriter {
 public:
  SessionReactor(grpc::CallbackServerContext* context, Sessions& sessions, Translate translate)
      : context_(context),
        sessions_(sessions),
        translate_(std::move(translate)),
        live_(std::make_shared<LiveSession>(*this)) {
    handed_over_.store(true, std::memory_order_release);
  }

  void open(const v1::GenerateRequest& request) { sessions_.open(request, live_); }
  // In place of open(): an error event, and the same as status.
  void refuse(const RequestError& error) {
    LockedSession locked(*live_);
    locked->state = LiveSession::State::kClosed;
    locked->bare_error = error.retryable;
    if (!locked->bare_error) locked->outbox.put_error(error.event(), {});
    locked->error = error;
    locked.wake();
  }

  // From hold() to release() another thread finds out what to open() or refuse(). Nothing is
  // written and the reactor lives until then, whatever becomes of the call. hold() comes before
  // gRPC has the reactor, and release() is the last that the other thread does with it.
  void hold() { held_ = true; }
  void release();
  Translate& translate() { return translate_; }  // before open()

  bool prepare() override;
  void write() override;
  void cut() override { context_->TryCancel(); }

  void OnWriteDone(bool ok) override;
  void OnCancel() override {
    handed_over_.load(std::memory_order_acquire);
    {
      std::lock_guard lock(live_->mutex);
      gone_ = held_;
      if (gone_) return;
    }
    sessions_.gone(*live_);
  }
  void OnDone() override {
    handed_over_.load(std::memory_order_acquire);
    sessions_.done(*live_);
    delete this;
  }

 private:
  // False when there is nothing to write now.
  bool fill() {
    while (translated_.empty() && live_->outbox.ready())
      translate_(live_->outbox.take(), &translated_);
    return !translated_.empty();
  }

  grpc::CallbackServerContext* context_;
  Sessions& sessions_;
  Translate translate_;
  // Shared with the table and the events thread, which may hold it when the call is over.
  std::shared_ptr<LiveSession> live_;
  std::deque<Response> translated_;
  // What write() does, and then what gRPC does until OnWriteDone() or OnDone(): nobody else touches
  // the reactor meanwhile, so write() needs no mutex.
  enum class Doing : uint8_t { kNothing, kWriting, kWritingLast, kFinishing };
  Doing doing_ = Doing::kNothing;
  Response message_;
  grpc::Status status_;
  bool hold_back_ = false;  // the write may wait for the next
  bool wrote_ = false;      // a first message, and the headers before it
  // gRPC orders the constructor and what write() does before what it reports; this says so where a
  // race detector, which does not see into gRPC, can see it.
  std::atomic<bool> handed_over_{false};
  bool held_ = false;    // between hold() and release()
  bool gone_ = false;    // its client went meanwhile
  bool broken_ = false;  // a write has failed: nothing more arrives
};

template <typename Response, typename Translate>
void SessionReactor<Response, Translate>::release() {
  // Once it is not held it may end at any time.
  Sessions& sessions = sessions_;
  const std::shared_ptr<LiveSession> live = live_;
  bool gone = false;
  {
    LockedSession locked(*live);
    held_ = false;
    gone = gone_;
    locked.wake();
  }
  if (gone) sessions.gone(*live);
}

template <typename Response, typename Translate>
bool SessionReactor<Response, Translate>::prepare() {
  if (held_ || doing_ != Doing::kNothing) return false;
  const bool closed = live_->state == LiveSession::State::kClosed;
  const bool has_message = !broken_ && fill();
  if (!has_message && !closed) return false;
  if (has_message) {
    message_ = std::move(translated_.front());
    translated_.pop_front();
  }
  const bool more = has_message && fill();
  if (closed && !more) {
    doing_ = has_message ? Doing::kWritingLast : Doing::kFinishing;
    hold_back_ = false;
    if (live_->error) {
      status_ = wire_status(*live_->error);
      add_pushback(*live_->error, context_);
    }
    return true;
  }
  doing_ = Doing::kWriting;
  // What follows at once goes out with it. Not the first: held back, the headers that it carries
  // would never count as written, and the write would not end.
  hold_back_ = more && wrote_;
  wrote_ = true;
  return true;
}

template <typename Response, typename Translate>
void SessionReactor<Response, Translate>::write() {
  grpc::WriteOptions options;
  if (hold_back_) options.set_buffer_hint();
  const Doing doing = doing_;
  handed_over_.store(true, std::memory_order_release);
  switch (doing) {
    case Doing::kNothing:
      return;
    case Doing::kWriting:
      return this->StartWrite(&message_, options);
    case Doing::kWritingLast:
      return this->StartWriteAndFinish(&message_, options, status_);
    case Doing::kFinishing:
      return this->Finish(status_);
  }
}

template <typename Response, typename Translate>
void SessionReactor<Response, Translate>::OnWriteDone(bool ok) {
  handed_over_.load(std::memory_order_acquire);
  if (!ok) {
    {
      LockedSession locked(*live_);
      broken_ = true;
    }
    sessions_.gone(*live_);
  }
  LockedSession locked(*live_);
  doing_ = Doing::kNothing;
  locked.wake();
}

}  // namespace mimo::coordinator
