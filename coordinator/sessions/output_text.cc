#include "coordinator/sessions/output_text.h"

#include <utility>

namespace mimo::coordinator {

Result<OutputText> OutputText::create(const text::Tokenizer* tokenizer, Options options) {
  OutputText output(std::move(options));
  if (tokenizer == nullptr) return output;
  output.detokenizer_.emplace(
      *tokenizer,
      text::StreamingDetokenizer::Options{.skip_special_tokens = !output.options_.include_special});
  if (output.options_.stops.empty()) return output;
  // The matcher keeps the stop in its text, so that what it leaves over can be told from its size.
  TRY_ASSIGN(output.fresh_matcher_,
             text::StopMatcher::create({output.options_.stops, /*include_stop=*/true}));
  output.restart_matcher();
  return output;
}

void OutputText::restart_matcher() {
  matcher_ = fresh_matcher_;
  num_searched_ = 0;
  num_returned_ = 0;
}

OutputText::Piece OutputText::push(int32_t id, int32_t num_tokens) {
  if (!detokenizer_) return {};
  return match(detokenizer_->push(id), num_tokens >= options_.min_tokens);
}

OutputText::Piece OutputText::finish(int32_t num_tokens) {
  if (!detokenizer_) return {};
  Piece piece = match(detokenizer_->finish(), num_tokens >= options_.min_tokens);
  if (matcher_ && !piece.stop_idx) piece.text += matcher_->finish();
  return piece;
}

OutputText::Piece OutputText::match(std::string text, bool may_stop) {
  if (!matcher_) return {std::move(text), std::nullopt};
  Piece piece;
  std::string_view rest = text;
  while (true) {
    num_searched_ += static_cast<int64_t>(rest.size());
    auto found = matcher_->push(rest);
    num_returned_ += static_cast<int64_t>(found.text.size());
    piece.text += found.text;
    if (!found.stop_idx) return piece;
    if (may_stop) {
      const std::string& stop = options_.stops[static_cast<size_t>(*found.stop_idx)];
      if (!options_.include_stop) piece.text.resize(piece.text.size() - stop.size());
      piece.stop_idx = found.stop_idx;
      return piece;
    }
    rest = rest.substr(rest.size() - static_cast<size_t>(num_searched_ - num_returned_));
    restart_matcher();
  }
}

}  // namespace mimo::coordinator
