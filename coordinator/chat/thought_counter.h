#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "coordinator/chat/reasoning_parser.h"

namespace mimo::chat {

// How many of a reply's tokens are thoughts: those up to the one that ends the thoughts, tags
// included. It goes by the tokens' own texts, so that the count does not depend on how they came.
//
// Thread: one at a time.
class ThoughtCounter final {
 public:
  explicit ThoughtCounter(ReplyStart start) : parser_(start) {}

  void push(std::string_view token);
  int32_t count() const { return count_; }

 private:
  ReasoningParser parser_;
  bool done_ = false;
  int32_t num_undecided_ = 0;
  int32_t count_ = 0;
  std::string thought_, answer_;  // not looked at
};

}  // namespace mimo::chat
