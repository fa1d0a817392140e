#include "coordinator/api/generate_reactor.h"

#include <mutex>

#include "coordinator/api/wire_status.h"

namespace mimo::coordinator {

GenerateReactor::GenerateReactor(grpc::CallbackServerContext* context, Sessions& sessions)
    : context_(context), sessions_(sessions), live_(std::make_shared<LiveSession>(*this)) {}

void GenerateReactor::wake() {
  if (writing_ || finishing_) return;
  const bool closed = live_->state == LiveSession::State::kClosed;
  Outbox& outbox = live_->outbox;
  if (broken_ || !outbox.ready()) {
    if (closed) finish(/*with_message=*/false);
    return;
  }
  message_ = outbox.take();
  const bool more = outbox.ready();
  if (closed && !more) return finish(/*with_message=*/true);
  writing_ = true;
  grpc::WriteOptions options;
  // What follows at once goes out with it. Not the first: held back, the headers that it carries
  // would never count as written, and the write would not end.
  if (more && wrote_) options.set_buffer_hint();
  wrote_ = true;
  StartWrite(&message_, options);
}

void GenerateReactor::finish(bool with_message) {
  finishing_ = true;
  grpc::Status status;
  if (live_->error) {
    status = wire_status(*live_->error);
    add_pushback(*live_->error, context_);
  }
  if (with_message) {
    StartWriteAndFinish(&message_, grpc::WriteOptions(), status);
  } else {
    Finish(status);
  }
}

void GenerateReactor::cut() { context_->TryCancel(); }

void GenerateReactor::OnWriteDone(bool ok) {
  if (!ok) {
    {
      std::lock_guard lock(live_->mutex);
      broken_ = true;
    }
    sessions_.gone(*live_);
  }
  std::lock_guard lock(live_->mutex);
  writing_ = false;
  wake();
}

void GenerateReactor::OnCancel() { sessions_.gone(*live_); }

void GenerateReactor::OnDone() {
  sessions_.done(*live_);
  delete this;
}

}  // namespace mimo::coordinator
