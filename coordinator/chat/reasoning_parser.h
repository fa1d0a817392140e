#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "coordinator/chat/reply_start.h"

namespace mimo::chat {

// Thoughts from answer: what stands between <think> and </think> at a reply's beginning, whatever
// the prompt said of them: a model that thinks unasked has not answered yet. Thoughts that never
// end are thoughts to the last; a call in them is thought; later tags are plain text. Nothing is
// stripped, so that a reply sent back renders to the tokens that were drawn; only the tags, an end
// without a beginning, and blanks before these, belong to neither side.
//
// Thread:    one at a time.
// Invariant: what was given out is never taken back, and does not depend on how the text was split.
class ReasoningParser final {
 public:
  explicit ReasoningParser(ReplyStart start) : start_(start) {}

  // Puts what `text` makes certain behind `reasoning` and `answer`.
  void push(std::string_view text, std::string* reasoning, std::string* answer);
  // The reply ends here.
  void finish(std::string* reasoning, std::string* answer);

  bool is_deciding() const { return place_ == Place::kBegin; }
  bool is_thinking() const { return place_ == Place::kThoughts; }
  // That the reply has thoughts; while deciding, not yet.
  bool has_thought() const { return has_thought_; }

 private:
  enum class Place : uint8_t { kBegin, kThoughts, kAnswer };
  bool decide();

  ReplyStart start_;
  Place place_ = Place::kBegin;
  bool has_thought_ = false;
  std::string held_;  // may be a tag's beginning
};

}  // namespace mimo::chat
