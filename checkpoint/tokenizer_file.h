#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace mimo::checkpoint {

// A token that is found in the text as it stands, before anything is cut into pieces.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  // only where no letter, digit or mark touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // is looked for after normalisation, not before
  bool special = false;
};

// Two neighbours that become one. Its place in the list is its rank.
struct MergeRule {
  int32_t left = 0;
  int32_t right = 0;
  int32_t result = 0;
};

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

}  // namespace mimo::checkpoint
