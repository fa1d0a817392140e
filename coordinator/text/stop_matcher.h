#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mimo::text {

// Watches one sequence's text for stop strings, wherever the pieces of text are cut.
//
// The match that is whole first wins: the text is read byte by byte and ends with the first stop
// string that is complete. Of several that end at the same byte the longest wins, and of equal ones
// the first given. What comes after the match is dropped.
//
// Thread:    one.
// Invariant: what is held back is the longest end of the text that some stop string begins with,
// and
//            not a byte more; every piece handed out is well-formed UTF-8 when every piece given
//            is.
class StopMatcher final {
 public:
  struct Options {
    std::vector<std::string> stops;  // well-formed UTF-8, none empty; may be none at all
    bool include_stop = false;       // the matched string is part of the text
  };

  struct Output {
    std::string text;                 // to be handed out now
    std::optional<int32_t> stop_idx;  // of Options::stops, once, when the match is whole
  };

  // kInvalidArgument names the stop string that is empty or not UTF-8.
  static Result<StopMatcher> create(const Options& options);

  // After a match: nothing, ever. O(bytes of `text` * number of stop strings).
  Output push(std::string_view text);

  // No more text comes: what was held back. Nothing after a match.
  std::string finish();

  bool stopped() const { return stopped_; }

 private:
  struct Pattern {
    std::string stop;
    // fall_back[n]: of the first n bytes, the longest proper end that the stop string begins with.
    std::vector<int32_t> fall_back;
    int32_t num_matched = 0;  // bytes of `stop` that the text ends with, the most there are
  };

  explicit StopMatcher(bool include_stop) : include_stop_(include_stop) {}
  static void advance(Pattern* pattern, char byte);

  std::vector<Pattern> patterns_;
  bool include_stop_;
  bool stopped_ = false;
  std::string held_;
};

}  // namespace mimo::text
