#include "coordinator/chat/reasoning_parser.h"

#include <algorithm>

#include "coordinator/chat/markup.h"

namespace mimo::chat {

// Leaves kBegin when held_ tells what the reply begins with; false when it does not tell yet.
bool ReasoningParser::decide() {
  const size_t blanks = std::min(held_.find_first_not_of(" \t\r\n"), held_.size());
  const std::string_view rest = std::string_view(held_).substr(blanks);
  const Match begin = match(rest, kThinkBegin);
  const Match end = match(rest, kThinkEnd);
  if (begin == Match::kMaybe || end == Match::kMaybe) return false;
  const bool opened = start_ == ReplyStart::kThinking;
  place_ = begin == Match::kYes || opened ? Place::kThoughts : Place::kAnswer;
  has_thought_ = place_ == Place::kThoughts;
  if (begin == Match::kYes) {
    held_.erase(0, blanks + kThinkBegin.size());
  } else if (end == Match::kYes && !opened) {
    held_.erase(0, blanks + kThinkEnd.size());
  }
  return true;
}

void ReasoningParser::push(std::string_view text, std::string* reasoning, std::string* answer) {
  if (place_ == Place::kAnswer) {
    answer->append(text);
    return;
  }
  held_.append(text);
  if (place_ == Place::kBegin && !decide()) return;
  if (place_ == Place::kThoughts) {
    const size_t end = find_start(held_, kThinkEnd, 0);
    reasoning->append(held_, 0, end);
    held_.erase(0, end);
    if (!std::string_view(held_).starts_with(kThinkEnd)) return;
    held_.erase(0, kThinkEnd.size());
    place_ = Place::kAnswer;
  }
  answer->append(held_);
  held_.clear();
}

void ReasoningParser::finish(std::string* reasoning, std::string* answer) {
  const bool thoughts =
      place_ == Place::kThoughts || (place_ == Place::kBegin && start_ == ReplyStart::kThinking);
  (thoughts ? reasoning : answer)->append(held_);
  held_.clear();
}

}  // namespace mimo::chat
