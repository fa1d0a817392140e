#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "coordinator/text/added_tokens.h"
#include "coordinator/text/bpe.h"

namespace mimo::text {

// What a tokenizer.json of the byte-level family says, checked as far as it can be without building
// anything: ids are in range and belong to one token each, merges name tokens that exist.
struct TokenizerSpec {
  bool nfc = false;
  std::string split_regex;
  bool ignore_merges = false;
  std::vector<std::pair<std::string, int32_t>> vocab;  // spelled in the byte alphabet
  std::vector<MergeRule> merges;                       // by rank
  std::vector<AddedToken> added_tokens;
};

// kInvalidArgument names the field that is missing, unknown, or not what this program can follow:
// nothing in the file is passed over, except what concerns offsets and the adding of special
// tokens.
Result<TokenizerSpec> parse_tokenizer_file(std::string_view json);

}  // namespace mimo::text
