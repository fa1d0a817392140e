#include "coordinator/api/generate_reactor.h"

#include "coordinator/api/wire_status.h"

namespace mimo::coordinator {

GenerateReactor::GenerateReactor(grpc::CallbackServerContext* context, Sessions& sessions)
    : context_(context), sessions_(sessions), live_(std::make_shared<LiveSession>(*this)) {
  handed_over_.store(true, std::memory_order_release);
}

bool GenerateReactor::prepare() {
  if (doing_ != Doing::kNothing) return false;
  const bool closed = live_->state == LiveSession::State::kClosed;
  Outbox& outbox = live_->outbox;
  const bool has_message = !broken_ && outbox.ready();
  if (!has_message && !closed) return false;
  if (has_message) message_ = outbox.take();
  const bool more = has_message && outbox.ready();
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

void GenerateReactor::write() {
  grpc::WriteOptions options;
  if (hold_back_) options.set_buffer_hint();
  const Doing doing = doing_;
  handed_over_.store(true, std::memory_order_release);
  switch (doing) {
    case Doing::kNothing:
      return;
    case Doing::kWriting:
      return StartWrite(&message_, options);
    case Doing::kWritingLast:
      return StartWriteAndFinish(&message_, options, status_);
    case Doing::kFinishing:
      return Finish(status_);
  }
}

void GenerateReactor::cut() { context_->TryCancel(); }

void GenerateReactor::OnWriteDone(bool ok) {
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

void GenerateReactor::OnCancel() {
  handed_over_.load(std::memory_order_acquire);
  sessions_.gone(*live_);
}

void GenerateReactor::OnDone() {
  handed_over_.load(std::memory_order_acquire);
  sessions_.done(*live_);
  delete this;
}

}  // namespace mimo::coordinator
