#include "checkpoint/tokenizer_file.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "checkpoint/json_fields.h"

namespace mimo::checkpoint {
namespace {

using nlohmann::json;

// No vocabulary comes near it; tables are sized by the largest id.
constexpr int64_t kIdMax = (int64_t{1} << 22) - 1;

using VocabMap = std::unordered_map<std::string_view, int32_t>;

// The file as JSON, with no name twice in any object: of two values one would be lost.
Result<json> parse_json(std::string_view text) {
  std::vector<size_t> num_names;  // of the objects around the place being read
  std::optional<size_t> repeated;
  const auto watch = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) num_names.push_back(0);
    if (event == json::parse_event_t::key) ++num_names.back();
    if (event == json::parse_event_t::object_end) {
      if (parsed.size() != num_names.back() && !repeated) repeated = num_names.back();
      num_names.pop_back();
    }
    return true;
  };
  json file;
  try {
    file = json::parse(text.begin(), text.end(), watch);
  } catch (const json::exception& e) {
    return invalid_argument(std::string("not JSON: ") + e.what());
  }
  if (repeated)
    return invalid_argument("an object of " + std::to_string(*repeated) +
                            " fields has two of the same name");
  return file;
}

// --- Around the model ----------------------------------------------------------------------------

Result<bool> read_normalizer(const json& value) {
  if (value.is_null()) return false;
  JsonFields fields(value, "normalizer");
  const std::string type = fields.text("type");
  if (type == "NFC") {
    TRY(fields.done());
    return true;
  }
  if (type != "Sequence") fields.refuse("type", "NFC, or a Sequence of NFC");
  const json& steps = fields.required("normalizers");
  if (!steps.is_array()) fields.refuse("normalizers", "an array");
  TRY(fields.done());
  for (size_t i = 0; i < steps.size(); ++i) {
    JsonFields step(steps[i], "normalizer.normalizers[" + std::to_string(i) + "]");
    step.must_be("type", "NFC");
    TRY(step.done());
  }
  return !steps.empty();
}

Result<std::string> read_split(const json& value) {
  JsonFields split(value, "pre_tokenizer.pretokenizers[0]");
  split.must_be("type", "Split");
  split.must_be("behavior", "Isolated");
  split.must_be("invert", false);
  const json& pattern = split.required("pattern");
  TRY(split.done());
  JsonFields fields(pattern, "pre_tokenizer.pretokenizers[0].pattern");
  std::string regex = fields.text("Regex");
  TRY(fields.done());
  return regex;
}

Result<std::string> read_pre_tokenizer(const json& value) {
  JsonFields fields(value, "pre_tokenizer");
  fields.must_be("type", "Sequence");
  const json& steps = fields.required("pretokenizers");
  if (!steps.is_array() || steps.size() != 2)
    fields.refuse("pretokenizers", "a Split and a ByteLevel");
  TRY(fields.done());
  TRY_ASSIGN(std::string regex, read_split(steps[0]));
  JsonFields bytes(steps[1], "pre_tokenizer.pretokenizers[1]");
  bytes.must_be("type", "ByteLevel");
  bytes.must_be("add_prefix_space", false);
  bytes.must_be("use_regex", false);
  bytes.optional("trim_offsets");
  TRY(bytes.done());
  return regex;
}

// What it does concerns offsets, or the special tokens around a text: neither is done here.
Result<void> check_post_processor(const json& value) {
  if (value.is_null()) return {};
  JsonFields fields(value, "post_processor");
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    const json& steps = fields.required("processors");
    if (!steps.is_array()) fields.refuse("processors", "an array");
    TRY(fields.done());
    for (const json& step : steps) {
      const json kind = step.is_object() ? step.value("type", json()) : json();
      if (kind != "ByteLevel" && kind != "TemplateProcessing")
        return invalid_argument("post_processor.processors has " + brief(kind) +
                                ": expected ByteLevel or TemplateProcessing");
    }
    return {};
  }
  if (type != "ByteLevel" && type != "TemplateProcessing")
    fields.refuse("type", "ByteLevel, TemplateProcessing or a Sequence of them");
  for (const char* name :
       {"add_prefix_space", "trim_offsets", "use_regex", "single", "pair", "special_tokens"})
    fields.optional(name);
  return fields.done();
}

Result<void> check_decoder(const json& value) {
  JsonFields fields(value, "decoder");
  fields.must_be("type", "ByteLevel");
  for (const char* name : {"add_prefix_space", "trim_offsets", "use_regex"}) fields.optional(name);
  return fields.done();
}

// --- The model -----------------------------------------------------------------------------------

std::optional<int32_t> id_from(const json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > kIdMax) return std::nullopt;
  const auto id = value.get<int64_t>();
  if (id < 0 || id > kIdMax) return std::nullopt;
  return static_cast<int32_t>(id);
}

Error bad_id(const std::string& name, const json& value) {
  return invalid_argument(name + " is " + brief(value) + ": expected an id from 0 to " +
                          std::to_string(kIdMax));
}

Result<void> read_vocab(const json& value, TokenizerSpec* spec) {
  if (!value.is_object() || value.empty())
    return invalid_argument("model.vocab is " + brief(value) + ": expected an object of ids");
  std::unordered_set<int32_t> taken;
  taken.reserve(value.size());
  spec->vocab.reserve(value.size());
  for (const auto& [token, id_value] : value.items()) {
    const auto name = [&key = token] { return "model.vocab[" + brief(key) + "]"; };
    const std::optional<int32_t> id = id_from(id_value);
    if (!id) return bad_id(name(), id_value);
    if (token.empty()) return invalid_argument(name() + " is an empty token");
    if (!taken.insert(*id).second)
      return invalid_argument(name() + " is " + std::to_string(*id) +
                              ": another token has that id");
    spec->vocab.emplace_back(token, *id);
  }
  return {};
}

// The two halves of a merge, in either spelling: ["a", "b"] or "a b".
std::optional<std::pair<std::string, std::string>> halves_of(const json& value) {
  if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string())
    return std::pair(value[0].get<std::string>(), value[1].get<std::string>());
  if (!value.is_string()) return std::nullopt;
  const auto& text = value.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos)
    return std::nullopt;
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

Result<MergeRule> read_merge(const json& value, const std::string& name, const VocabMap& vocab) {
  const auto halves = halves_of(value);
  if (!halves)
    return invalid_argument(name + " is " + brief(value) + R"(: expected ["a", "b"] or "a b")");
  const std::string result = halves->first + halves->second;
  MergeRule rule;
  for (const auto& [token, id] :
       {std::pair(&halves->first, &rule.left), std::pair(&halves->second, &rule.right),
        std::pair(&result, &rule.result)}) {
    const auto found = vocab.find(*token);
    if (found == vocab.end())
      return invalid_argument(name + " needs the token " + brief(*token) +
                              ", which model.vocab does not have");
    *id = found->second;
  }
  return rule;
}

Result<void> read_merges(const json& value, TokenizerSpec* spec) {
  if (!value.is_array())
    return invalid_argument("model.merges is " + brief(value) + ": expected an array");
  const VocabMap vocab(spec->vocab.begin(), spec->vocab.end());
  std::unordered_set<int64_t> pairs;
  pairs.reserve(value.size());
  spec->merges.reserve(value.size());
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string name = "model.merges[" + std::to_string(i) + "]";
    TRY_ASSIGN(const MergeRule rule, read_merge(value[i], name, vocab));
    if (!pairs.insert(int64_t{rule.left} << 32 | rule.right).second)
      return invalid_argument(name + " is " + value[i].dump() + ": it is there twice");
    spec->merges.push_back(rule);
  }
  return {};
}

Result<void> read_model(const json& value, TokenizerSpec* spec) {
  JsonFields fields(value, "model");
  fields.must_be("type", "BPE");
  fields.null_or("dropout", 0.0);
  fields.null_or("unk_token", nullptr);
  fields.null_or("continuing_subword_prefix", "");
  fields.null_or("end_of_word_suffix", "");
  fields.null_or("fuse_unk", false);
  fields.null_or("byte_fallback", false);
  const json& ignore_merges = fields.optional("ignore_merges");
  if (!ignore_merges.is_null()) spec->ignore_merges = fields.boolean("ignore_merges");
  const json& vocab = fields.required("vocab");
  const json& merges = fields.required("merges");
  TRY(fields.done());
  TRY(read_vocab(vocab, spec));
  return read_merges(merges, spec);
}

// --- Added tokens --------------------------------------------------------------------------------

Result<AddedToken> read_added_token(const json& value, const std::string& name) {
  JsonFields fields(value, name);
  AddedToken token;
  const json& id_value = fields.required("id");
  token.content = fields.text("content");
  token.single_word = fields.boolean("single_word");
  token.lstrip = fields.boolean("lstrip");
  token.rstrip = fields.boolean("rstrip");
  token.normalized = fields.boolean("normalized");
  token.special = fields.boolean("special");
  if (token.content.empty()) fields.refuse("content", "a text that can be found");
  TRY(fields.done());
  const std::optional<int32_t> id = id_from(id_value);
  if (!id) return bad_id(name + ".id", id_value);
  token.id = *id;
  return token;
}

// A token may stand in both lists under the same id; else ids and texts are each other's only.
Result<void> read_added_tokens(const json& value, TokenizerSpec* spec) {
  if (!value.is_array())
    return invalid_argument("added_tokens is " + brief(value) + ": expected an array");
  std::unordered_map<std::string, int32_t> id_of(spec->vocab.begin(), spec->vocab.end());
  std::unordered_map<int32_t, std::string> token_of;
  for (const auto& [token, id] : spec->vocab) token_of.emplace(id, token);
  std::unordered_set<int32_t> added;
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string name = "added_tokens[" + std::to_string(i) + "]";
    TRY_ASSIGN(AddedToken token, read_added_token(value[i], name));
    const std::string id = std::to_string(token.id);
    if (token_of.emplace(token.id, token.content).first->second != token.content)
      return invalid_argument(name + ".id is " + id + ": the token " + brief(token_of[token.id]) +
                              " has that id");
    if (id_of.emplace(token.content, token.id).first->second != token.id)
      return invalid_argument(name + ".id is " + id + ": " + brief(token.content) + " is token " +
                              std::to_string(id_of[token.content]));
    if (!added.insert(token.id).second)
      return invalid_argument(name + ".id is " + id + ": it is there twice");
    spec->added_tokens.push_back(std::move(token));
  }
  return {};
}

}  // namespace

Result<TokenizerSpec> parse_tokenizer_file(std::string_view text) {
  TRY_ASSIGN(const json file, parse_json(text));
  JsonFields fields(file, "");
  fields.null_or("version", "1.0");
  fields.null_or("truncation", nullptr);
  fields.null_or("padding", nullptr);
  const json& normalizer = fields.optional("normalizer");
  const json& pre_tokenizer = fields.required("pre_tokenizer");
  const json& post_processor = fields.optional("post_processor");
  const json& decoder = fields.required("decoder");
  const json& model = fields.required("model");
  const json& added_tokens = fields.required("added_tokens");
  TRY(fields.done());

  TokenizerSpec spec;
  TRY_ASSIGN(spec.nfc, read_normalizer(normalizer));
  TRY_ASSIGN(spec.split_regex, read_pre_tokenizer(pre_tokenizer));
  TRY(check_post_processor(post_processor));
  TRY(check_decoder(decoder));
  TRY(read_model(model, &spec));
  TRY(read_added_tokens(added_tokens, &spec));
  return spec;
}

}  // namespace mimo::checkpoint
