#include "coordinator/http/stream.h"

#include <mutex>
#include <utility>

namespace mimo::http {

using coordinator::LiveSession;

Stream::Stream(Loop& loop, coordinator::Sessions& sessions, Reader& reader, int32_t prompt_idx)
    : loop_(loop),
      sessions_(sessions),
      reader_(&reader),
      prompt_idx_(prompt_idx),
      live_(std::make_shared<LiveSession>(*this)) {}

void Stream::open(const v1::GenerateRequest& request) { sessions_.open(request, live_); }

bool Stream::prepare() {
  if (signalled_) return false;
  if (!live_->outbox.ready() && live_->state != LiveSession::State::kClosed) return false;
  signalled_ = true;
  self_ = shared_from_this();
  return true;
}

void Stream::write() { loop_.wake(std::move(self_)); }

void Stream::cut() {
  if (cut_) return;
  cut_ = true;
  loop_.wake(shared_from_this());
}

void Stream::woken() {
  if (reader_ == nullptr) return;
  bool cut = false;
  {
    std::lock_guard lock(live_->mutex);
    cut = cut_;
  }
  if (cut) return reader_->given_up();
  reader_->ready(*this);
}

Stream::Batch Stream::take(int64_t bytes_max) {
  Batch batch;
  std::lock_guard lock(live_->mutex);
  coordinator::Outbox& outbox = live_->outbox;
  const int64_t bytes_before = outbox.token_bytes();
  while (outbox.ready() && bytes_before - outbox.token_bytes() < bytes_max)
    batch.messages.push_back(outbox.take());
  batch.more = outbox.ready();
  batch.closed = !batch.more && live_->state == LiveSession::State::kClosed;
  if (batch.closed) batch.error = live_->error;
  // What is left is fetched without a wake.
  signalled_ = batch.more || batch.closed;
  return batch;
}

void Stream::end() {
  if (reader_ == nullptr) return;
  reader_ = nullptr;
  {
    // Nothing is left to be told: the session's own end must not wake the loop.
    std::lock_guard lock(live_->mutex);
    signalled_ = true;
    cut_ = true;
  }
  sessions_.gone(*live_);
  sessions_.done(*live_);
}

}  // namespace mimo::http
