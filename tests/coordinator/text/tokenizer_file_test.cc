#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coordinator/text/tokenizer.h"
#include "tests/coordinator/text/random_text.h"
#include "tests/coordinator/text/small_tokenizer.h"

namespace mimo::text {
namespace {

using nlohmann::json;

Result<std::vector<int32_t>> encode_with(const json& file, std::string_view text) {
  TRY_ASSIGN(const auto tokenizer, Tokenizer::from_json(file.dump()));
  return tokenizer->encode(text);
}

using Ids = std::vector<int32_t>;

TEST(TokenizerFile, TheSmallestFileLoads) {
  EXPECT_EQ(encode_with(small_tokenizer(), "abcab a<end>").value(), (Ids{257, 256, 32, 'a', 300}));
}

TEST(TokenizerFile, BothSpellingsOfMergesMeanTheSame) {
  json file = small_tokenizer();
  file["model"]["merges"] = {"a b", "ab c"};

  EXPECT_EQ(encode_with(file, "abcab").value(), (Ids{257, 256}));
}

TEST(TokenizerFile, IgnoreMergesTakesAPieceThatIsAToken) {
  json file = small_tokenizer();
  file["model"]["merges"] = json::array();
  EXPECT_EQ(encode_with(file, "abc").value(), (Ids{'a', 'b', 'c'}));

  file["model"]["ignore_merges"] = true;

  EXPECT_EQ(encode_with(file, "abc").value(), (Ids{257}));
  EXPECT_EQ(encode_with(file, "abcab").value(), (Ids{'a', 'b', 'c', 'a', 'b'}));
}

// Each a patch of the smallest file that leaves its meaning as it was.
TEST(TokenizerFile, OtherWaysToSayTheSameAreAccepted) {
  const std::vector<const char*> patches = {
      R"({"normalizer": null})",
      R"({"normalizer": {"type": "Sequence", "normalizers": null}, "version": null})",
      R"({"post_processor": {"type": "ByteLevel", "trim_offsets": true}})",
      R"({"post_processor": {"type": "TemplateProcessing", "single": [], "pair": []}})",
      R"({"post_processor": {"type": "Sequence", "processors": [{"type": "ByteLevel"}]}})",
      R"({"model": {"dropout": 0.0, "fuse_unk": null, "end_of_word_suffix": null}})"};
  for (const char* patch : patches) {
    json file = small_tokenizer();
    file.merge_patch(json::parse(patch));
    if (file["normalizer"].is_object() && file["normalizer"]["type"] == "Sequence")
      file["normalizer"]["normalizers"] = json::array({{{"type", "NFC"}}});

    EXPECT_EQ(encode_with(file, "abc").value(), (Ids{257})) << patch;
  }
}

struct Bad {
  const char* pointer;  // where
  const char* value;    // what is put there, as JSON
  const char* says;     // what the error must say
};

class TokenizerFileRefuses : public ::testing::TestWithParam<Bad> {};

TEST_P(TokenizerFileRefuses, NamingTheField) {
  json file = small_tokenizer();
  file[json::json_pointer(GetParam().pointer)] = json::parse(GetParam().value);

  const auto refused = Tokenizer::from_json(file.dump());

  ASSERT_FALSE(refused.ok()) << GetParam().pointer << " " << GetParam().value;
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().message.find(GetParam().says), std::string::npos)
      << refused.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    Around, TokenizerFileRefuses,
    ::testing::Values(
        Bad{"/version", "\"2.0\"", "version is \"2.0\""},
        Bad{"/truncation", "{\"max_length\": 1}", "truncation is an object"},
        Bad{"/padding", "{\"x\": 1}", "padding is an object"},
        Bad{"/surprise", "1", "surprise is 1: no such field"},
        Bad{"/normalizer", "\"NFC\"", "normalizer is \"NFC\": expected an object"},
        Bad{"/normalizer/type", "\"NFKC\"", "normalizer.type is \"NFKC\""},
        Bad{"/normalizer/type", "\"Sequence\"", "normalizer.normalizers is missing"},
        Bad{"/normalizer/form", "1", "normalizer.form is 1: no such field"},
        Bad{"/normalizer", R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}]})",
            "normalizer.normalizers[0].type is \"Lowercase\""},
        Bad{"/pre_tokenizer", "null", "pre_tokenizer is null"},
        Bad{"/pre_tokenizer/type", "\"ByteLevel\"", "pre_tokenizer.type is \"ByteLevel\""},
        Bad{"/pre_tokenizer/pretokenizers", "[]", "expected a Split and a ByteLevel"},
        Bad{"/pre_tokenizer/pretokenizers/0/type", "\"Digits\"", "pretokenizers[0].type"},
        Bad{"/pre_tokenizer/pretokenizers/0/behavior", "\"Removed\"", "[0].behavior"},
        Bad{"/pre_tokenizer/pretokenizers/0/invert", "true", "[0].invert is true"},
        Bad{"/pre_tokenizer/pretokenizers/0/pattern", R"({"String": " "})", "Regex is missing"},
        Bad{"/pre_tokenizer/pretokenizers/0/pattern/Regex", "\"(\"", "pattern.Regex: "},
        Bad{"/pre_tokenizer/pretokenizers/0/pattern/Regex", "7", "pattern.Regex is 7"},
        Bad{"/pre_tokenizer/pretokenizers/1/type", "\"Split\"", "pretokenizers[1].type"},
        Bad{"/pre_tokenizer/pretokenizers/1/add_prefix_space", "true", "add_prefix_space is true"},
        Bad{"/pre_tokenizer/pretokenizers/1/use_regex", "true", "use_regex is true"},
        Bad{"/post_processor", R"({"type": "BertProcessing"})", "\"BertProcessing\""},
        Bad{"/post_processor", R"({"type": "Sequence", "processors": [{"type": "Roberta"}]})",
            "post_processor.processors has \"Roberta\""},
        Bad{"/decoder", "null", "decoder is null"},
        Bad{"/decoder/type", "\"Metaspace\"", "decoder.type is \"Metaspace\""}));

INSTANTIATE_TEST_SUITE_P(
    Model, TokenizerFileRefuses,
    ::testing::Values(
        Bad{"/model", "[]", "model is []: expected an object"},
        Bad{"/model/type", "\"WordPiece\"", "model.type is \"WordPiece\""},
        Bad{"/model/dropout", "0.1", "model.dropout is 0.1"},
        Bad{"/model/unk_token", "\"a\"", "model.unk_token is \"a\""},
        Bad{"/model/continuing_subword_prefix", "\"##\"", "model.continuing_subword_prefix"},
        Bad{"/model/end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix"},
        Bad{"/model/fuse_unk", "true", "model.fuse_unk is true"},
        Bad{"/model/byte_fallback", "true", "model.byte_fallback is true"},
        Bad{"/model/ignore_merges", "1", "model.ignore_merges is 1"},
        Bad{"/model/cache_capacity", "1", "model.cache_capacity is 1: no such field"},
        Bad{"/model/vocab", "[]", "model.vocab is []"},
        Bad{"/model/vocab", "{}", "model.vocab is {}"},
        Bad{"/model/vocab", "{\"a\": 0, \"b\": 1, \"ab\": 2, \"c\": 3, \"abc\": 4}",
            "no token for byte 0"},
        Bad{"/model/vocab/a", "-1", "model.vocab[\"a\"] is -1: expected an id from 0"},
        Bad{"/model/vocab/a", "4194304", "model.vocab[\"a\"] is 4194304"},
        Bad{"/model/vocab/a", "18446744073709551615", "is 18446744073709551615"},
        Bad{"/model/vocab/a", "1.5", "is 1.5"}, Bad{"/model/vocab/a", "\"1\"", "is \"1\""},
        Bad{"/model/vocab/abc", "256", "another token has that id"},
        Bad{"/model/vocab/", "900", "is an empty token"},
        Bad{"/model/merges", "{}", "model.merges is {}"},
        Bad{"/model/merges/0", "\"a b c\"", "model.merges[0] is \"a b c\""},
        Bad{"/model/merges/1", "[\"a\"]", "model.merges[1] is an array"},
        Bad{"/model/merges/1", "[\"a\", \"nowhere\"]", "needs the token \"nowhere\""},
        Bad{"/model/merges/1", "[\"b\", \"c\"]", "needs the token \"bc\""},
        Bad{"/model/merges/1", "[\"a\", \"b\"]", "it is there twice"}));

constexpr char kToken[] =
    R"({"id": 301, "content": "<x>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false})";

INSTANTIATE_TEST_SUITE_P(
    Added, TokenizerFileRefuses,
    ::testing::Values(Bad{"/added_tokens", "{}", "added_tokens is {}"},
                      Bad{"/added_tokens/0", "7", "added_tokens[0] is 7: expected an object"},
                      Bad{"/added_tokens/0/id", "-3", "added_tokens[0].id is -3"},
                      Bad{"/added_tokens/0/id", "2147483648", "added_tokens[0].id is 2147483648"},
                      Bad{"/added_tokens/0/id", "97", "the token \"a\" has that id"},
                      Bad{"/added_tokens/0/content", "\"abc\"", "\"abc\" is token 257"},
                      Bad{"/added_tokens/0/content", "\"\"", "content is \"\""},
                      Bad{"/added_tokens/0/content", "null", "content is null: expected a string"},
                      Bad{"/added_tokens/0/special", "\"yes\"", "special is \"yes\""},
                      Bad{"/added_tokens/0/lstrip", "null", "lstrip is null"},
                      Bad{"/added_tokens/0/colour", "1", "added_tokens[0].colour is 1"}));

TEST(TokenizerFile, RefusesAddedTokensThatCollide) {
  json same_id = small_tokenizer();
  same_id["added_tokens"].push_back(json::parse(kToken));
  same_id["added_tokens"][1]["id"] = 300;
  json same_text = small_tokenizer();
  same_text["added_tokens"].push_back(json::parse(kToken));
  same_text["added_tokens"][1]["content"] = "<end>";
  json same_after_nfc = small_tokenizer();
  for (const char* content : {"e\u0301!", "\u00e9!"}) {
    json token = json::parse(kToken);
    token["id"] = 301 + same_after_nfc["added_tokens"].size();
    token["content"] = content;
    token["normalized"] = true;
    same_after_nfc["added_tokens"].push_back(token);
  }

  EXPECT_NE(encode_with(same_id, "").error().message.find("the token \"<end>\" has that id"),
            std::string::npos);
  EXPECT_NE(encode_with(same_text, "").error().message.find("\"<end>\" is token 300"),
            std::string::npos);
  EXPECT_NE(encode_with(same_after_nfc, "").error().message.find("normalisation makes the same"),
            std::string::npos);
}

TEST(TokenizerFile, RefusesAMissingField) {
  for (const char* pointer :
       {"/pre_tokenizer", "/decoder", "/model", "/added_tokens", "/model/vocab", "/model/merges",
        "/model/type", "/added_tokens/0/id", "/added_tokens/0/special"}) {
    json file = small_tokenizer();
    const json::json_pointer at(pointer);
    file[at.parent_pointer()].erase(at.back());

    const auto refused = Tokenizer::from_json(file.dump());

    ASSERT_FALSE(refused.ok()) << pointer;
    EXPECT_NE(refused.error().message.find(at.back() + " is missing"), std::string::npos)
        << refused.error().message;
  }
}

TEST(TokenizerFile, RefusesANameThatIsThereTwice) {
  std::string text = small_tokenizer().dump();
  text.replace(text.find("\"vocab\":{"), 9, "\"vocab\":{\"a\":999,");

  const auto refused = Tokenizer::from_json(text);

  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("two of the same name"), std::string::npos);
}

TEST(TokenizerFile, RefusesEveryTruncation) {
  const std::string text = small_tokenizer().dump();
  for (size_t size = 0; size < text.size(); size += 23) {
    const auto refused = Tokenizer::from_json(std::string_view(text).substr(0, size));

    ASSERT_FALSE(refused.ok()) << size;
    EXPECT_NE(refused.error().message.find("not JSON"), std::string::npos);
  }
}

TEST(TokenizerFile, AMissingFileIsNamed) {
  const auto refused = Tokenizer::load("/nowhere/tokenizer.json");

  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("/nowhere/tokenizer.json"), std::string::npos);
}

// Whatever the bytes: refused, or a tokenizer that works.
TEST(TokenizerFile, SurvivesAnyDamage) {
  auto random = seeded_random();
  const std::string whole = small_tokenizer().dump();
  int32_t num_loaded = 0;
  for (int32_t round = 0; round < 300; ++round) {
    std::string text = round % 10 == 0 ? random_bytes(random, pick(random, 0, 200)) : whole;
    for (int64_t n = pick(random, 1, 4); n > 0 && !text.empty(); --n) {
      const auto at = static_cast<size_t>(pick(random, 0, static_cast<int64_t>(text.size()) - 1));
      const auto size = static_cast<size_t>(pick(random, 0, 2));
      text.replace(at, size, random_bytes(random, pick(random, 0, 2)));
    }
    const auto tokenizer = Tokenizer::from_json(text);
    if (!tokenizer.ok()) continue;
    ++num_loaded;
    const auto ids = tokenizer.value()->encode("abc ab<end> \u4e2d!");
    EXPECT_TRUE(!ids.ok() || !ids.value().empty());
  }
  RecordProperty("loaded", num_loaded);
}

TEST(TokenizerFile, DeepNestingIsRefusedWithoutRunningOutOfStack) {
  EXPECT_FALSE(Tokenizer::from_json(std::string(1 << 16, '[')).ok());
  EXPECT_FALSE(Tokenizer::from_json(std::string(1 << 15, '[') + std::string(1 << 15, ']')).ok());
}

}  // namespace
}  // namespace mimo::text
