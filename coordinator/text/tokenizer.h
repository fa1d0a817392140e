#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mimo::text {

// Text to ids and back, as a Hugging Face tokenizer.json of the byte-level BPE family says: added
// tokens, NFC, a splitting pattern, merges. encode() adds no special tokens around the text, and
// finds those that are written in it.
//
// Thread:    any: every method is const and waits for nobody.
// Invariant: every byte has a token, so every text has ids, and decode() of them is its NFC.
class Tokenizer final {
 public:
  // Errors name the file, the field, its value and what was expected.
  static Result<std::unique_ptr<Tokenizer>> load(const std::string& tokenizer_json_path);
  static Result<std::unique_ptr<Tokenizer>> from_json(std::string_view json);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // kInvalidArgument for ill-formed UTF-8 (with the byte's offset) and past 256 MiB of text.
  Result<std::vector<int32_t>> encode(std::string_view utf8) const;

  // The ids' bytes in a row, with U+FFFD for each part that is no UTF-8. Ids without a token
  // (padding rows of the model's vocabulary, or out of range) have no bytes.
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  // What `id` stands for; may be part of a character. Empty for an id without a token.
  std::string_view token_bytes(int32_t id) const;

  // `token` as tokenizer.json writes it: "<think>", or in the byte alphabet. kNotFound.
  Result<int32_t> id_of(std::string_view token) const;

  // The largest id + 1. The model's vocabulary may be larger.
  int32_t vocab_size() const;

  // True for added tokens marked special: <|im_end|> is, <think> may not be.
  bool is_special(int32_t id) const;

 private:
  struct Parts;
  struct Scratch;
  explicit Tokenizer(std::unique_ptr<Parts> parts);
  Result<void> encode_ordinary(std::string_view text, Scratch* scratch,
                               std::vector<int32_t>* ids) const;
  Result<void> encode_between(std::string_view text, Scratch* scratch,
                              std::vector<int32_t>* ids) const;

  std::unique_ptr<Parts> parts_;
};

}  // namespace mimo::text
