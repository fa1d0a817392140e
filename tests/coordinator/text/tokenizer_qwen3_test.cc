#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "coordinator/text/tokenizer.h"

namespace mimo::text {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;
using Clock = std::chrono::steady_clock;

#ifdef MIMO_SPEED_FLOORS
constexpr size_t kLongBytes = 1 << 20;
constexpr double kEncodeMbPerSecondMin = 1.0;
constexpr double kLongPieceSecondsMax = 10.0;
#else
constexpr size_t kLongBytes = 1 << 16;  // instrumented code is fifty times slower
constexpr double kEncodeMbPerSecondMin = 0.0;
constexpr double kLongPieceSecondsMax = 100.0;
#endif

const Tokenizer& qwen3() {
  static const auto kTokenizer = Tokenizer::load(MIMO_QWEN3_TOKENIZER).value();
  return *kTokenizer;
}

json data(const std::string& name) {
  return json::parse(std::ifstream(MIMO_SOURCE_DIR "/tests/data/tokenizer/" + name));
}

std::string file_text(const std::string& name) {
  std::ostringstream text;
  text << std::ifstream(MIMO_SOURCE_DIR "/" + name).rdbuf();
  return text.str();
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

TEST(TokenizerQwen3, GivesHuggingFacesIdsAndText) {
  const json vectors = data("qwen3_vectors.json");
  ASSERT_EQ(vectors.size(), 400u);
  for (const json& v : vectors) {
    EXPECT_EQ(qwen3().encode(v["text"].get<std::string>()).value(), v["ids"].get<Ids>())
        << v["text"];
    EXPECT_EQ(qwen3().decode(v["ids"].get<Ids>(), /*skip_special=*/false),
              v["decoded"].get<std::string>());
  }
}

TEST(TokenizerQwen3, ReadsCharactersAsHuggingFaceDoes) {
  const json vectors = data("qwen3_code_points.json");
  ASSERT_GT(vectors.size(), 100u);
  for (const json& v : vectors)
    EXPECT_EQ(qwen3().encode(v["text"].get<std::string>()).value(), v["ids"].get<Ids>())
        << v["text"];
}

// The one sequence of ids that is known of MiMo's own tokenizer.
TEST(TokenizerQwen3, GivesTheKnownIdsOfMiMosPrompt) {
  const Ids want = {151644, 8948,  198,   2610,   525,    20740, 25612, 11,     264,
                    10950,  15235, 17847, 44936,  553,    71449, 13,    151645, 151644,
                    872,    198,   9707,  151645, 151644, 77091, 198,   151667, 151668};

  EXPECT_EQ(qwen3()
                .encode("<|im_start|>system\nYou are MiMo, a helpful AI assistant engineered by "
                        "Xiaomi.<|im_end|><|im_start|>user\nHello<|im_end|><|im_start|>assistant\n"
                        "<think></think>")
                .value(),
            want);
  EXPECT_EQ(qwen3().vocab_size(), 151669);
  EXPECT_EQ(qwen3().decode(Ids{152000, 9707, 152575}, false), "Hello");
}

TEST(TokenizerQwen3, OrdinaryTextPassesTheSpeedFloor) {
  const std::string once = file_text("models/tiny/tiny_data.py") +
                           file_text("models/tiny/tiny_train.py") +
                           file_text("tests/data/tokenizer/README.md");
  ASSERT_GT(once.size(), 10'000u);
  std::string text;
  while (text.size() < kLongBytes) text += once;
  const auto start = Clock::now();

  const Ids ids = qwen3().encode(text).value();

  const double mb_per_s = static_cast<double>(text.size()) / seconds_since(start) / 1e6;
  RecordProperty("mb_per_s", std::to_string(mb_per_s));
  std::cout << "encode: " << mb_per_s << " MB/s\n";
  EXPECT_EQ(qwen3().decode(ids, /*skip_special=*/false), text);
  EXPECT_GT(mb_per_s, kEncodeMbPerSecondMin);
}

TEST(TokenizerQwen3, LongPiecesTakeNoQuadraticTime) {
  for (const std::string unit : {"a", " ", "\n", "!", "ab", "\u4e2d", "\u00e9", "<"}) {
    std::string text;
    while (text.size() < kLongBytes) text += unit;
    const auto start = Clock::now();

    const Ids ids = qwen3().encode(text).value();

    const double seconds = seconds_since(start);
    EXPECT_EQ(qwen3().decode(ids, /*skip_special=*/false), text);
    EXPECT_LT(seconds, kLongPieceSecondsMax) << unit;
  }
}

}  // namespace
}  // namespace mimo::text
