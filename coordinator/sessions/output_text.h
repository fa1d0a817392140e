#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "coordinator/text/detokenizer.h"
#include "coordinator/text/stop_matcher.h"
#include "coordinator/text/tokenizer.h"

namespace mimo::coordinator {

// One output's ids to text, ended by the first stop text. A stop text that is whole before
// min_tokens tokens are there is ordinary text, and the search goes on behind it.
//
// Thread:    one at a time.
// Lifetime:  the tokenizer outlives this; without one there is no text.
// Invariant: what is handed out is never half a character, never the beginning of a stop text.
class OutputText final {
 public:
  struct Options {
    std::vector<std::string> stops;
    bool include_stop = false;
    bool include_special = false;
    int32_t min_tokens = 0;
  };
  struct Piece {
    std::string text;
    std::optional<int32_t> stop_idx;  // of Options::stops; nothing comes after it
  };

  // kInvalidArgument: a stop text that is not UTF-8.
  static Result<OutputText> create(const text::Tokenizer* tokenizer, Options options);

  // The text that `id`, the output's num_tokens-th token (from 1), makes certain.
  Piece push(int32_t id, int32_t num_tokens);

  // What was held back, when no more tokens come. It may complete a stop text.
  Piece finish(int32_t num_tokens);

 private:
  explicit OutputText(Options options) : options_(std::move(options)) {}
  Piece match(std::string text, bool may_stop);
  void restart_matcher();

  Options options_;
  std::optional<text::StreamingDetokenizer> detokenizer_;
  std::optional<text::StopMatcher> fresh_matcher_;  // what a new search starts from
  std::optional<text::StopMatcher> matcher_;        // nothing when there are no stop texts
  int64_t num_searched_ = 0;                        // bytes given to matcher_
  int64_t num_returned_ = 0;                        // bytes that it gave back
};

}  // namespace mimo::coordinator
