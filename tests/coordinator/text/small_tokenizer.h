#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "checkpoint/byte_alphabet.h"

namespace mimo::text {

// The smallest file that loads: 256 bytes, "ab" and "abc" by two merges, one added token.
inline nlohmann::json small_tokenizer() {
  auto file = nlohmann::json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 300, "content": "<end>", "single_word": false, "lstrip": false,
                      "rstrip": false, "normalized": false, "special": true}],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s+"}, "behavior": "Isolated",
       "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
       "use_regex": false}]},
    "post_processor": null,
    "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                "use_regex": false},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
              "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
              "ignore_merges": false, "vocab": {}, "merges": [["a", "b"], ["ab", "c"]]}
  })");
  auto& vocab = file["model"]["vocab"];
  for (int32_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    std::string spelled;
    checkpoint::append_spelling({&c, 1}, &spelled);
    vocab[spelled] = byte;
  }
  vocab["ab"] = 256;
  vocab["abc"] = 257;
  return file;
}

}  // namespace mimo::text
