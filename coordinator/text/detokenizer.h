#pragma once

#include <cstdint>
#include <string>

#include "coordinator/text/tokenizer.h"
#include "coordinator/text/utf8.h"

namespace mimo::text {

// One sequence's ids to text while they come. All that push() and finish() return, in a row, is
// what Tokenizer::decode() makes of all the ids at once; each return is well-formed UTF-8.
//
// Thread:   one.
// Lifetime: the tokenizer outlives this.
class StreamingDetokenizer final {
 public:
  struct Options {
    bool skip_special_tokens = true;
  };

  StreamingDetokenizer(const Tokenizer& tokenizer, const Options& options);

  // The text that `id` makes certain: empty while a character is not whole.
  std::string push(int32_t id);

  // No more ids come: a character begun and not ended becomes U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  Options options_;
  LossyUtf8 lossy_;
};

}  // namespace mimo::text
