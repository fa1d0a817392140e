#include "coordinator/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <functional>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/mapped_file.h"
#include "checkpoint/byte_alphabet.h"
#include "checkpoint/token_bytes.h"
#include "checkpoint/tokenizer_file.h"
#include "coordinator/text/added_tokens.h"
#include "coordinator/text/bpe.h"
#include "coordinator/text/nfc.h"
#include "coordinator/text/scratch_pool.h"
#include "coordinator/text/split_pattern.h"
#include "coordinator/text/utf8.h"

namespace mimo::text {
namespace {

using checkpoint::append_spelling;
using checkpoint::parse_tokenizer_file;
using checkpoint::shown_bytes;
using checkpoint::TokenizerSpec;

constexpr int64_t kFileBytesMax = int64_t{256} << 20;

// Normalised text is at most three times as long, and offsets have 31 bits.
constexpr size_t kTextBytesMax = size_t{256} << 20;

// A scratch that a long text has blown up past this is not kept.
constexpr int64_t kIdleScratchBytesMax = int64_t{4} << 20;

struct Token {
  std::string bytes;
  bool special = false;
};

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
using IdMap = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

// What is looked for in the text, and what the token decodes to.
std::string content_of(const AddedToken& token, bool nfc) {
  std::string storage;
  return std::string(nfc && token.normalized ? to_nfc(token.content, &storage)
                                             : std::string_view(token.content));
}

// Tokens by id, and ids by how the file writes the tokens.
void index_tokens(const TokenizerSpec& spec, std::vector<Token>* tokens, IdMap* ids) {
  int32_t largest = -1;
  for (const auto& [spelled, id] : spec.vocab) largest = std::max(largest, id);
  for (const AddedToken& added : spec.added_tokens) largest = std::max(largest, added.id);
  tokens->resize(static_cast<size_t>(largest) + 1);
  ids->reserve(spec.vocab.size() + spec.added_tokens.size());
  const auto add = [&](const std::string& spelled, const std::string& shown, int32_t id,
                       bool special) {
    (*tokens)[static_cast<size_t>(id)] = {shown_bytes(shown), special};
    ids->emplace(spelled, id);
  };
  for (const auto& [spelled, id] : spec.vocab) add(spelled, spelled, id, false);
  for (const AddedToken& added : spec.added_tokens)
    add(added.content, content_of(added, spec.nfc), added.id, added.special);
}

Result<std::array<int32_t, 256>> index_bytes(const IdMap& ids) {
  std::array<int32_t, 256> byte_ids{};
  for (size_t byte = 0; byte < byte_ids.size(); ++byte) {
    const char c = static_cast<char>(byte);
    std::string spelled;
    append_spelling({&c, 1}, &spelled);
    const auto found = ids.find(spelled);
    if (found == ids.end())
      return invalid_argument("model.vocab has no token for byte " + std::to_string(byte) +
                              " (written " + spelled + "): expected all 256");
    byte_ids[byte] = found->second;
  }
  return byte_ids;
}

// Those to look for before normalisation, or those to look for after it, as it leaves them.
Result<AddedTokenMatcher> match_added(const TokenizerSpec& spec, bool normalized) {
  std::vector<AddedTokenMatcher::Pattern> patterns;
  std::unordered_map<std::string, std::string> written_as;
  for (const AddedToken& token : spec.added_tokens) {
    if (token.normalized != normalized) continue;
    std::string bytes = content_of(token, spec.nfc);
    const auto [other, is_new] = written_as.emplace(bytes, token.content);
    if (!is_new)
      return invalid_argument("added_tokens has " + token.content + " and " + other->second +
                              ", which normalisation makes the same");
    patterns.push_back({token, std::move(bytes)});
  }
  return AddedTokenMatcher(std::move(patterns));
}

}  // namespace

struct Tokenizer::Scratch {
  SplitScratch split;
  BpeScratch bpe;
  std::vector<Segment> raw_segments;
  std::vector<Segment> segments;
  std::vector<uint32_t> ends;
  std::string normalised;
  std::string spelled;

  int64_t buffer_bytes() const {
    const size_t bytes = (raw_segments.capacity() + segments.capacity()) * sizeof(Segment) +
                         ends.capacity() * sizeof(uint32_t) + normalised.capacity() +
                         spelled.capacity();
    return bpe.buffer_bytes() + static_cast<int64_t>(bytes);
  }
};

struct Tokenizer::Parts {
  std::vector<Token> tokens;
  IdMap ids;
  IdMap whole_pieces;  // the model's vocabulary, where a piece that is in it is not merged
  bool nfc;
  AddedTokenMatcher raw_added;
  AddedTokenMatcher normalized_added;
  std::unique_ptr<SplitPattern> split;
  Bpe bpe;
  mutable ScratchPool<Scratch> scratch_pool;
};

Tokenizer::Tokenizer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const std::string& tokenizer_json_path) {
  TRY_ASSIGN(const std::string json, read_file(tokenizer_json_path, kFileBytesMax));
  auto tokenizer = from_json(json);
  if (!tokenizer.ok()) return tokenizer.error().with_context(tokenizer_json_path);
  return tokenizer;
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_json(std::string_view json) {
  TRY_ASSIGN(const TokenizerSpec spec, parse_tokenizer_file(json));
  std::vector<Token> tokens;
  IdMap ids;
  index_tokens(spec, &tokens, &ids);
  TRY_ASSIGN(const auto byte_ids, index_bytes(ids));
  TRY_ASSIGN(AddedTokenMatcher raw_added, match_added(spec, /*normalized=*/false));
  TRY_ASSIGN(AddedTokenMatcher normalized_added, match_added(spec, /*normalized=*/true));
  IdMap whole_pieces;
  if (spec.ignore_merges) whole_pieces.insert(spec.vocab.begin(), spec.vocab.end());
  auto split = SplitPattern::create(spec.split_regex);
  if (!split.ok())
    return split.error().with_context("pre_tokenizer.pretokenizers[0].pattern.Regex");
  return std::unique_ptr<Tokenizer>(
      new Tokenizer(std::unique_ptr<Parts>(new Parts{std::move(tokens),
                                                     std::move(ids),
                                                     std::move(whole_pieces),
                                                     spec.nfc,
                                                     std::move(raw_added),
                                                     std::move(normalized_added),
                                                     std::move(split).value(),
                                                     Bpe(byte_ids, spec.merges),
                                                     {}})));
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view utf8) const {
  if (utf8.size() > kTextBytesMax)
    return invalid_argument("the text has " + std::to_string(utf8.size()) +
                            " bytes: expected at most " + std::to_string(kTextBytesMax));
  const size_t invalid = find_invalid_utf8(utf8);
  if (invalid != std::string_view::npos)
    return invalid_argument("the text is not UTF-8 at byte " + std::to_string(invalid) +
                            ", which is " + std::to_string(static_cast<uint8_t>(utf8[invalid])));
  std::unique_ptr<Scratch> scratch = parts_->scratch_pool.take();
  std::vector<int32_t> ids;
  ids.reserve(utf8.size() / 3 + 8);
  parts_->raw_added.split(utf8, &scratch->raw_segments);
  for (const Segment& segment : scratch->raw_segments) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
      continue;
    }
    TRY(encode_between(utf8.substr(segment.begin, segment.end - segment.begin), scratch.get(),
                       &ids));
  }
  if (scratch->buffer_bytes() <= kIdleScratchBytesMax)
    parts_->scratch_pool.give_back(std::move(scratch));
  return ids;
}

// Appends the ids of text that lies between added tokens of the first kind.
Result<void> Tokenizer::encode_between(std::string_view text, Scratch* scratch,
                                       std::vector<int32_t>* ids) const {
  if (parts_->nfc) text = to_nfc(text, &scratch->normalised);
  parts_->normalized_added.split(text, &scratch->segments);
  for (const Segment& segment : scratch->segments) {
    if (segment.id >= 0) {
      ids->push_back(segment.id);
      continue;
    }
    TRY(encode_ordinary(text.substr(segment.begin, segment.end - segment.begin), scratch, ids));
  }
  return {};
}

// Appends the ids of normalised text without added tokens.
Result<void> Tokenizer::encode_ordinary(std::string_view text, Scratch* scratch,
                                        std::vector<int32_t>* ids) const {
  TRY(parts_->split->split(text, &scratch->split, &scratch->ends));
  size_t begin = 0;
  for (const uint32_t end : scratch->ends) {
    const std::string_view piece = text.substr(begin, end - begin);
    begin = end;
    if (!parts_->whole_pieces.empty()) {
      scratch->spelled.clear();
      append_spelling(piece, &scratch->spelled);
      const auto whole = parts_->whole_pieces.find(std::string_view(scratch->spelled));
      if (whole != parts_->whole_pieces.end()) {
        ids->push_back(whole->second);
        continue;
      }
    }
    parts_->bpe.append_ids(piece, &scratch->bpe, ids);
  }
  return {};
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string text;
  LossyUtf8 lossy;
  for (const int32_t id : ids) {
    if (!skip_special || !is_special(id)) lossy.push(token_bytes(id), &text);
  }
  lossy.finish(&text);
  return text;
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return parts_->tokens[static_cast<size_t>(id)].bytes;
}

Result<int32_t> Tokenizer::id_of(std::string_view token) const {
  const auto found = parts_->ids.find(token);
  if (found == parts_->ids.end())
    return Error{Code::kNotFound, "the tokenizer has no token " + std::string(token)};
  return found->second;
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(parts_->tokens.size()); }

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < vocab_size() && parts_->tokens[static_cast<size_t>(id)].special;
}

}  // namespace mimo::text
