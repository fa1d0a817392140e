#include "coordinator/chat/thought_counter.h"

namespace mimo::chat {

void ThoughtCounter::push(std::string_view token) {
  if (done_) return;
  parser_.push(token, &thought_, &answer_);
  thought_.clear();
  answer_.clear();
  ++num_undecided_;
  if (parser_.is_deciding()) return;
  if (parser_.has_thought()) count_ += num_undecided_;
  num_undecided_ = 0;
  done_ = !parser_.is_thinking();
}

}  // namespace mimo::chat
