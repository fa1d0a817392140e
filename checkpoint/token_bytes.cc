#include "checkpoint/token_bytes.h"

#include <algorithm>

#include "base/mapped_file.h"
#include "checkpoint/byte_alphabet.h"

namespace mimo::checkpoint {
namespace {

constexpr int64_t kFileBytesMax = int64_t{256} << 20;

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0; });
}

}  // namespace

std::string shown_bytes(const std::string& shown) {
  return bytes_of_spelling(shown).value_or(shown);
}

std::vector<std::string> token_bytes(const TokenizerSpec& spec) {
  int32_t largest = -1;
  for (const auto& [spelled, id] : spec.vocab) largest = std::max(largest, id);
  for (const AddedToken& added : spec.added_tokens) largest = std::max(largest, added.id);
  std::vector<std::string> bytes(static_cast<size_t>(largest + 1));
  for (const auto& [spelled, id] : spec.vocab)
    bytes[static_cast<size_t>(id)] = shown_bytes(spelled);
  for (const AddedToken& added : spec.added_tokens) {
    const bool may_change = spec.nfc && added.normalized && !is_ascii(added.content);
    std::string& own = bytes[static_cast<size_t>(added.id)];
    own = added.special || may_change ? std::string() : shown_bytes(added.content);
  }
  return bytes;
}

Result<std::vector<std::string>> read_token_bytes(const std::string& tokenizer_json_path) {
  TRY_ASSIGN(const std::string json, read_file(tokenizer_json_path, kFileBytesMax));
  const auto spec = parse_tokenizer_file(json);
  if (!spec.ok()) return spec.error().with_context(tokenizer_json_path);
  return token_bytes(spec.value());
}

}  // namespace mimo::checkpoint
