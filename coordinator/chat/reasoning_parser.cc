#include "coordinator/chat/reasoning_parser.h"

#include <algorithm>

#include "coordinator/chat/markup.h"

namespace mimo::chat {

ReasoningParser::ReasoningParser(ReplyStart start)
    : start_(start), place_(start == ReplyStart::kAnswering ? Place::kAnswer : Place::kBegin) {}

// Leaves kBegin when held_ tells what the reply begins with; false when it does not tell yet.
bool ReasoningParser::decide() {
  const size_t blanks = std::min(held_.find_first_not_of(" \t\r\n"), held_.size());
  switch (match(std::string_view(held_).substr(blanks), kThinkBegin)) {
    case Match::kMaybe:
      return false;
    case Match::kYes:
      // A prompt that opened the thoughts already: the model only says so again.
      held_.erase(0, blanks + kThinkBegin.size());
      place_ = Place::kThoughts;
      break;
    case Match::kNo:
      place_ = start_ == ReplyStart::kThinking ? Place::kThoughts : Place::kAnswer;
      break;
  }
  has_thought_ = place_ == Place::kThoughts;
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
