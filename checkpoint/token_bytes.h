#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "checkpoint/tokenizer_file.h"

namespace mimo::checkpoint {

// What a token that the file shows as `shown` decodes to. Added tokens are read in the byte
// alphabet too, where they can be: Hugging Face's decoder does so.
std::string shown_bytes(const std::string& shown);

// By id: the bytes of each token that is text, those of added tokens that are not special included.
// Empty where no token has the id, where it is special, and where normalisation may change how an
// added token is written.
std::vector<std::string> token_bytes(const TokenizerSpec& spec);

// Those of a tokenizer.json; the error names the file.
Result<std::vector<std::string>> read_token_bytes(const std::string& tokenizer_json_path);

}  // namespace mimo::checkpoint
