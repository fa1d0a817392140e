#pragma once

#include <string>
#include <string_view>

#include "coordinator/chat/reasoning_parser.h"
#include "coordinator/chat/reply_piece.h"
#include "coordinator/chat/tool_call_parser.h"

namespace mimo::chat {

// A reply taken apart into reasoning, content and calls while it comes.
//
// Thread:    one at a time.
// Lifetime:  the tools outlive this.
// Invariant: what was given out is never taken back, and does not depend on how the text was split.
class ReplyParser final {
 public:
  ReplyParser(ReplyStart start, const ToolSet& tools, bool one_call)
      : reasoning_(start), calls_(tools, one_call) {}

  // Puts what `text`, whole characters, makes certain behind `out`.
  void push(std::string_view text, ReplyPiece* out);
  // The reply ends here.
  void finish(ReplyPiece* out);

 private:
  ReasoningParser reasoning_;
  ToolCallParser calls_;
  std::string answer_;  // between the two, empty outside of a call
};

}  // namespace mimo::chat
