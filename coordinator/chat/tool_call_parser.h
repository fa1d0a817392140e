#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/chat/reply_piece.h"
#include "coordinator/chat/tool_set.h"

namespace mimo::chat {

// Calls from an answer. A call is
//
//   <tool_call> <function=NAME> <parameter=KEY>VALUE</parameter> ... </function> </tool_call>
//
// with any blanks between tags and a NAME that the request declared. It is given out when it is
// whole: until then it may still turn out broken, and what is broken, of an unknown function or cut
// off by the reply's end is text like any other. Blanks that stand only between calls, or between
// the answer's beginning or end and a call, are dropped; all other text is given out as it is.
//
// Thread:    one at a time.
// Lifetime:  the tools outlive this.
// Invariant: what was given out is never taken back, and does not depend on how the text was split.
class ToolCallParser final {
 public:
  // `one_call`: what follows the first call is dropped. Without tools all is text.
  ToolCallParser(const ToolSet& tools, bool one_call) : tools_(tools), one_call_(one_call) {}

  // Puts what `text` makes certain behind `out`.
  void push(std::string_view text, ReplyPiece* out);
  // The answer ends here.
  void finish(ReplyPiece* out);

 private:
  // Where in a call held_[at_] stands.
  enum class Place : uint8_t { kText, kOpened, kName, kBody, kKey, kValue, kClosing };
  enum class Step : uint8_t { kOn, kMore, kBroken, kWhole };

  Step step();
  Step step_text(ReplyPiece* out);
  Step expect(std::string_view tag, Place next);
  Step expect_in_body();
  Step read_name();
  Step read_key();
  Step read_value();
  Step read_word(std::string* word);
  void open();
  void give_call(ReplyPiece* out);
  void break_call(ReplyPiece* out);
  void give_text(size_t end, ReplyPiece* out);

  const ToolSet& tools_;
  const bool one_call_;
  Place place_ = Place::kText;
  std::string held_;          // not given out: blanks, then perhaps a call
  size_t call_at_ = 0;        // where in held_ the call begins
  size_t at_ = 0;             // what is before it has been read
  size_t value_at_ = 0;       // kValue: where it begins
  bool drops_blanks_ = true;  // no text since the answer's beginning or the last call
  int32_t num_calls_ = 0;
  const ToolSpec* tool_ = nullptr;
  std::string key_;
  std::vector<std::pair<std::string, std::string>> parameters_;  // key, value as it was written
};

}  // namespace mimo::chat
