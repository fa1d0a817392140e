#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coordinator/text/nfc.h"
#include "coordinator/text/tokenizer.h"
#include "coordinator/text/utf8.h"
#include "tests/coordinator/text/random_text.h"

namespace mimo::text {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

constexpr char kTiny[] = MIMO_SOURCE_DIR "/models/tiny/tokenizer.json";

json read_json(const std::string& path) { return json::parse(std::ifstream(path)); }

std::unique_ptr<Tokenizer> tiny() { return Tokenizer::load(kTiny).value(); }

TEST(TokenizerTiny, MakesTheRecordedPromptsAndAnswers) {
  const auto tokenizer = tiny();
  const json expected = read_json(MIMO_SOURCE_DIR "/models/tiny/expected.json");
  ASSERT_FALSE(expected["cases"].empty());
  for (const json& c : expected["cases"]) {
    EXPECT_EQ(tokenizer->encode(c["text"].get<std::string>()).value(), c["prompt"].get<Ids>());
    EXPECT_EQ(tokenizer->decode(c["greedy"].get<Ids>(), /*skip_special=*/false),
              c["greedy_text"].get<std::string>());
  }
}

// Tokenizers with every mix of flags on added tokens, and what Hugging Face makes of them.
TEST(TokenizerTiny, FindsAddedTokensAsHuggingFaceDoes) {
  const json groups = read_json(MIMO_SOURCE_DIR "/tests/data/tokenizer/added_tokens.json");
  ASSERT_EQ(groups.size(), 24u);
  for (const json& group : groups) {
    json file = read_json(kTiny);
    for (const json& token : group["added_tokens"]) file["added_tokens"].push_back(token);
    file["model"]["ignore_merges"] = group["ignore_merges"];
    if (!group["nfc"].get<bool>()) file["normalizer"] = nullptr;
    const auto tokenizer = Tokenizer::from_json(file.dump()).value();
    for (const json& c : group["cases"])
      EXPECT_EQ(tokenizer->encode(c["text"].get<std::string>()).value(), c["ids"].get<Ids>())
          << c["text"] << " with " << group["added_tokens"];
  }
}

TEST(TokenizerTiny, KnowsItsTokens) {
  const auto tokenizer = tiny();

  EXPECT_EQ(tokenizer->vocab_size(), 2041);
  EXPECT_EQ(tokenizer->id_of("<|im_end|>").value(), 2034);
  EXPECT_EQ(tokenizer->id_of("<think>").value(), 2039);
  EXPECT_EQ(tokenizer->token_bytes(2034), "<|im_end|>");
  EXPECT_EQ(tokenizer->token_bytes(tokenizer->id_of("\u0120a").value()), " a");
  EXPECT_TRUE(tokenizer->is_special(2034));
  EXPECT_FALSE(tokenizer->is_special(2039));
  EXPECT_EQ(tokenizer->id_of("<nowhere>").error().code, Code::kNotFound);
}

TEST(TokenizerTiny, IdsWithoutATokenHaveNoBytes) {
  const auto tokenizer = tiny();
  const Ids ids = {2041, -1, 1 << 30, INT32_MIN, INT32_MAX, 2039};

  for (const int32_t id : {2041, -1, INT32_MIN, INT32_MAX}) {
    EXPECT_EQ(tokenizer->token_bytes(id), "");
    EXPECT_FALSE(tokenizer->is_special(id));
  }
  EXPECT_EQ(tokenizer->decode(ids, false), "<think>");
}

TEST(TokenizerTiny, SkipsSpecialTokensAndNoOthers) {
  const auto tokenizer = tiny();
  const Ids ids = tokenizer->encode("<|im_start|>a<think>b<|im_end|>").value();

  EXPECT_EQ(tokenizer->decode(ids, /*skip_special=*/true), "a<think>b");
  EXPECT_EQ(tokenizer->decode(ids, /*skip_special=*/false), "<|im_start|>a<think>b<|im_end|>");
}

TEST(TokenizerTiny, RefusesWhatIsNotUtf8AndSaysWhere) {
  const auto tokenizer = tiny();

  const auto refused = tokenizer->encode("four\xff more");

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("at byte 4, which is 255"), std::string::npos);
}

TEST(TokenizerTiny, AnyBytesEncodeOrAreRefused) {
  const auto tokenizer = tiny();
  auto random = seeded_random();
  for (int32_t round = 0; round < 20'000; ++round) {
    const std::string bytes = random_bytes(random, pick(random, 0, 6));
    const size_t invalid = find_invalid_utf8(bytes);

    const auto ids = tokenizer->encode(bytes);

    ASSERT_EQ(ids.ok(), invalid == std::string_view::npos);
    if (ids.ok()) continue;
    EXPECT_NE(ids.error().message.find("at byte " + std::to_string(invalid)), std::string::npos);
  }
}

TEST(TokenizerTiny, DecodingGivesTheNormalisedTextBack) {
  const auto tokenizer = tiny();
  auto random = seeded_random();
  for (int32_t round = 0; round < 4000; ++round) {
    std::string text =
        random_text(random,
                    {"the ", "fox", " ", "\n", "<|im_start|>", "<think>", "'S", "e\u0301", "\u0323",
                     "\u1100\u1161", "4", "\u4e2d", "\U0001f642", "\u2003", "\t"},
                    30);
    // Any character but U+0338, which alone composes with the > that ends an added token.
    for (int64_t n = pick(random, 0, 8); n > 0; --n)
      append_utf8(static_cast<char32_t>(pick(random, 0x339, 0xd7ff)), &text);
    std::string storage;

    const Ids ids = tokenizer->encode(text).value();

    EXPECT_EQ(tokenizer->decode(ids, /*skip_special=*/false), to_nfc(text, &storage));
  }
}

}  // namespace
}  // namespace mimo::text
