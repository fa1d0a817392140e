#include "coordinator/sessions/outbox.h"

#include <utility>

#include "base/check.h"

namespace mimo::coordinator {
namespace {

// A message stops growing here, so that one write stays small beside the message bound.
constexpr int64_t kMergeBytesMax = int64_t{1} << 20;

}  // namespace

v1::GenerateResponse& Outbox::append() {
  v1::GenerateResponse& message = waiting_.emplace_back().message;
  message.set_request_id(request_id_);
  return message;
}

v1::TokenEvent& Outbox::token_event(int32_t output_idx) {
  // Other outputs' messages may be overtaken; this output's own may not.
  for (size_t i = waiting_.size(); i-- > 0;) {
    Waiting& waiting = waiting_[i];
    if (!waiting.message.has_token()) continue;
    if (waiting.message.token().output_index() != output_idx) continue;
    if (waiting.token_bytes >= kMergeBytesMax) break;
    // added() counts for the newest message: the one that grows moves there.
    if (i + 1 != waiting_.size()) {
      Waiting moved = std::move(waiting);
      waiting_.erase(waiting_.begin() + static_cast<int64_t>(i));
      waiting_.push_back(std::move(moved));
    }
    return *waiting_.back().message.mutable_token();
  }
  v1::TokenEvent& event = *append().mutable_token();
  event.set_output_index(output_idx);
  return event;
}

void Outbox::added(int64_t bytes) {
  waiting_.back().token_bytes += bytes;
  token_bytes_ += bytes;
}

void Outbox::put_prompt(v1::PromptEvent event, const v1::Usage& usage) {
  CHECK(!prompt_put_);
  v1::GenerateResponse& message = waiting_.emplace_front().message;
  message.set_request_id(request_id_);
  *message.mutable_prompt() = std::move(event);
  *message.mutable_usage() = usage;
  prompt_put_ = true;
}

void Outbox::put_finished(v1::FinishedEvent event, const v1::Usage& usage) {
  v1::GenerateResponse& message = append();
  *message.mutable_finished() = std::move(event);
  *message.mutable_usage() = usage;
}

void Outbox::put_error(v1::ErrorEvent event, const v1::Usage& usage) {
  if (!prompt_put_) {
    waiting_.clear();
    token_bytes_ = 0;
    prompt_put_ = true;
  }
  v1::GenerateResponse& message = append();
  *message.mutable_error() = std::move(event);
  *message.mutable_usage() = usage;
}

v1::GenerateResponse Outbox::take() {
  CHECK(ready());
  Waiting oldest = std::move(waiting_.front());
  waiting_.pop_front();
  token_bytes_ -= oldest.token_bytes;
  return std::move(oldest.message);
}

}  // namespace mimo::coordinator
