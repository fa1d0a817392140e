#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/token_bytes.h"
#include "grammar/grammars.h"

namespace mimo::grammar {

// The bundled model's tokens. Ends: <|im_end|>, <|endoftext|>.
inline const Grammars::Vocabulary& tiny_vocabulary() {
  static const Grammars::Vocabulary vocabulary = {
      checkpoint::read_token_bytes(std::string(MIMO_SOURCE_DIR) + "/models/tiny/tokenizer.json")
          .value(),
      2048,
      {2034, 2032}};
  return vocabulary;
}

inline std::unique_ptr<Grammars> tiny_grammars(const Grammars::Options& options = {}) {
  return Grammars::create(tiny_vocabulary(), options).value();
}

inline bool is_set(std::span<const uint32_t> mask, int32_t token) {
  return (mask[static_cast<size_t>(token / 32)] >> token % 32 & 1) != 0;
}

// Rules with their text so far and their mask.
class Drawing {
 public:
  Drawing(Grammars* grammars, const Spec& spec, Grammars::Vocabulary vocabulary = tiny_vocabulary())
      : vocabulary_(std::move(vocabulary)),
        rules_(grammars->start(spec)),
        mask_(static_cast<size_t>(mask_words(vocabulary_.vocab_limit))) {}

  std::span<const uint32_t> fill() {
    rules_->fill(mask_).value();
    return mask_;
  }
  TokenRules& rules() { return *rules_; }
  bool may_end() { return is_set(fill(), vocabulary_.end_ids.front()); }
  // The longest tokens first; false where the text leaves the grammar.
  bool take(std::string_view text) {
    while (!text.empty()) {
      fill();
      int32_t best = -1;
      for (int32_t id = 0; id < vocabulary_.vocab_limit; ++id) {
        if (!is_set(mask_, id)) continue;
        const std::string& bytes = vocabulary_.token_bytes[static_cast<size_t>(id)];
        const bool fits = !bytes.empty() && text.substr(0, bytes.size()) == bytes;
        if (fits && (best < 0 || bytes.size() > token(best).size())) best = id;
      }
      if (best < 0) return false;
      rules_->accept(best).value();
      text.remove_prefix(token(best).size());
    }
    return true;
  }
  const std::string& token(int32_t id) const {
    return vocabulary_.token_bytes[static_cast<size_t>(id)];
  }
  const Grammars::Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  Grammars::Vocabulary vocabulary_;
  std::unique_ptr<TokenRules> rules_;
  std::vector<uint32_t> mask_;
};

// The text is one of the spec's.
inline bool accepts(Grammars* grammars, const Spec& spec, std::string_view text) {
  Drawing drawing(grammars, spec);
  return drawing.take(text) && drawing.may_end();
}

}  // namespace mimo::grammar
