#include "coordinator/text/detokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/coordinator/text/random_text.h"

namespace mimo::text {
namespace {

std::unique_ptr<Tokenizer> tiny() {
  return Tokenizer::load(MIMO_SOURCE_DIR "/models/tiny/tokenizer.json").value();
}

// The tokens that are one byte each, so that characters come in parts.
std::vector<int32_t> ids_of_bytes(const Tokenizer& tokenizer) {
  std::vector<int32_t> ids(256, -1);
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view bytes = tokenizer.token_bytes(id);
    if (bytes.size() == 1) ids[static_cast<uint8_t>(bytes[0])] = id;
  }
  return ids;
}

TEST(StreamingDetokenizer, ACharacterComesWholeOrNotAtAll) {
  const auto tokenizer = tiny();
  const auto byte = ids_of_bytes(*tokenizer);
  StreamingDetokenizer stream(*tokenizer, {});

  EXPECT_EQ(stream.push(byte['x']), "x");
  EXPECT_EQ(stream.push(byte[0xf0]), "");
  EXPECT_EQ(stream.push(byte[0x9f]), "");
  EXPECT_EQ(stream.push(byte[0x99]), "");
  EXPECT_EQ(stream.push(byte[0x82]), "\U0001f642");
  EXPECT_EQ(stream.finish(), "");
}

TEST(StreamingDetokenizer, WhatCanBecomeNoCharacterIsReplacedAtOnce) {
  const auto tokenizer = tiny();
  const auto byte = ids_of_bytes(*tokenizer);
  StreamingDetokenizer stream(*tokenizer, {});

  EXPECT_EQ(stream.push(byte[0xff]), "\ufffd");
  EXPECT_EQ(stream.push(byte[0xe4]), "");
  EXPECT_EQ(stream.push(byte['x']), "\ufffdx");
  EXPECT_EQ(stream.push(byte[0xe4]), "");
  EXPECT_EQ(stream.push(byte[0xb8]), "");
  EXPECT_EQ(stream.finish(), "\ufffd");
}

TEST(StreamingDetokenizer, SpecialTokensShowOnlyWhenAsked) {
  const auto tokenizer = tiny();
  const int32_t end = tokenizer->id_of("<|im_end|>").value();

  EXPECT_EQ(StreamingDetokenizer(*tokenizer, {}).push(end), "");
  EXPECT_EQ(StreamingDetokenizer(*tokenizer, {.skip_special_tokens = false}).push(end),
            "<|im_end|>");
}

TEST(StreamingDetokenizer, AllPiecesInARowAreTheWholeDecoded) {
  const auto tokenizer = tiny();
  const auto byte = ids_of_bytes(*tokenizer);
  auto random = seeded_random();
  for (int32_t round = 0; round < 5000; ++round) {
    std::vector<int32_t> ids;
    for (int64_t n = pick(random, 0, 30); n > 0; --n) {
      const bool any = pick(random, 0, 1) == 0;
      ids.push_back(any ? static_cast<int32_t>(pick(random, -2, tokenizer->vocab_size() + 2))
                        : byte[static_cast<size_t>(pick(random, 0x80, 0xff))]);
    }
    const bool skip_special = pick(random, 0, 1) == 0;
    StreamingDetokenizer stream(*tokenizer, {skip_special});
    std::string text;
    for (const int32_t id : ids) {
      const std::string piece = stream.push(id);
      ASSERT_EQ(find_invalid_utf8(piece), std::string_view::npos);
      text += piece;
    }
    text += stream.finish();

    EXPECT_EQ(text, tokenizer->decode(ids, skip_special));
  }
}

}  // namespace
}  // namespace mimo::text
