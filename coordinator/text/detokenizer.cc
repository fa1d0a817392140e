#include "coordinator/text/detokenizer.h"

namespace mimo::text {

StreamingDetokenizer::StreamingDetokenizer(const Tokenizer& tokenizer, const Options& options)
    : tokenizer_(tokenizer), options_(options) {}

std::string StreamingDetokenizer::push(int32_t id) {
  std::string text;
  if (!options_.skip_special_tokens || !tokenizer_.is_special(id))
    lossy_.push(tokenizer_.token_bytes(id), &text);
  return text;
}

std::string StreamingDetokenizer::finish() {
  std::string text;
  lossy_.finish(&text);
  return text;
}

}  // namespace mimo::text
