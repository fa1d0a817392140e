#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/expected_tensors.h"
#include "checkpoint/model_config.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/tensor_check.h"
#include "parallel/shard_bytes.h"
#include "tests/checkpoint/files.h"

namespace mimo::checkpoint {
namespace {

// MIMO_TEST_SEED replays a run.
uint32_t seed() {
  const char* given = std::getenv("MIMO_TEST_SEED");
  const uint32_t seed =
      given != nullptr ? static_cast<uint32_t>(std::atoll(given)) : std::random_device{}();
  std::cout << "MIMO_TEST_SEED=" << seed << std::endl;
  return seed;
}

// Mutations of a run: a build with sanitizers is some twenty times slower.
constexpr int32_t mutations(int32_t count) {
#ifdef __SANITIZE_ADDRESS__
  return count / 4;
#else
  return count;
#endif
}

// Spoils a text in one to three places: bytes, spans, numbers, words that JSON and the formats
// know.
class Mutator {
 public:
  explicit Mutator(uint32_t seed) : rng_(seed) {}

  std::string mutate(const std::string& text) {
    std::string out = text;
    for (int32_t n = below(3); n >= 0; --n) mutate_once(out);
    return out;
  }
  int32_t below(size_t bound) {
    return static_cast<int32_t>(std::uniform_int_distribution<size_t>(0, bound - 1)(rng_));
  }

 private:
  void mutate_once(std::string& text) {
    if (text.empty()) {
      text = "{";
      return;
    }
    const size_t at = below(text.size());
    const size_t length = std::min<size_t>(text.size() - at, 1 + below(40));
    switch (below(7)) {
      case 0:
        text[at] = static_cast<char>(below(256));
        return;
      case 1:
        text.erase(at, length);
        return;
      case 2:
        text.insert(below(text.size()), text.substr(at, length));
        return;
      case 3:
        text.insert(at, word());
        return;
      case 4:
      case 5:
        replace_number(text, at);
        return;
      default:
        text.resize(at);
        return;
    }
  }
  void replace_number(std::string& text, size_t from) {
    constexpr std::string_view kDigits = "0123456789";
    const size_t at = text.find_first_of(kDigits, from);
    if (at == std::string::npos) return;
    const size_t end = std::min(text.find_first_not_of(kDigits, at), text.size());
    text.replace(at, end - at, word());
  }
  std::string word() {
    static constexpr const char* kWords[] = {"0",
                                             "1",
                                             "-1",
                                             "2147483648",
                                             "4294967296",
                                             "9223372036854775807",
                                             "9223372036854775808",
                                             "18446744073709551615",
                                             "1e308",
                                             "1e400",
                                             "0.5",
                                             "null",
                                             "true",
                                             "[]",
                                             "{}",
                                             "\"F32\"",
                                             "\"BF16\"",
                                             "\"F8_E4M3\"",
                                             "\"I64\"",
                                             "\"..\"",
                                             "\"a/b.safetensors\"",
                                             ",",
                                             ":",
                                             "\"",
                                             "NaN",
                                             "[[[[[[[[[[",
                                             "{\"a\":{\"a\":{\"a\":",
                                             "\\u0000",
                                             "\xff",
                                             "128",
                                             "64"};
    return kWords[below(std::size(kWords))];
  }

  std::mt19937 rng_;
};

// A refusal is kInvalidArgument or kDataLoss and opens with the source's name.
template <typename T>
void expect_said_well(const Result<T>& result, const std::string& source) {
  if (result.ok()) return;
  const Error& error = result.error();
  ASSERT_TRUE(error.code == Code::kInvalidArgument || error.code == Code::kDataLoss)
      << error.to_string();
  ASSERT_EQ(error.message.find(source), 0u) << error.message;
  ASSERT_LT(error.message.size(), 1000u) << error.message;
}

// An accepted config can be planned with: nothing overflows (the sanitizers watch), no CHECK fails.
void plan_with(const ModelConfig& config) {
  ASSERT_EQ(static_cast<int32_t>(config.attention.size()), config.num_layers);
  ASSERT_EQ(static_cast<int32_t>(config.is_moe.size()), config.num_layers);
  for (const int32_t tp : {1, 2, 3, 16}) {
    const auto plan = parallel::plan_shards(config, {.tp = tp});
    if (!plan.ok()) continue;
    ASSERT_GT(parallel::rank_bytes(config, plan.value(), tp - 1).total(), 0);
  }
}

TEST(Mutation, ConfigsAreReadOrRefused) {
  Mutator mutator(seed());
  const std::string text = read_text(tiny() + "/config.json");
  int32_t num_accepted = 0;
  for (int32_t i = 0; i < mutations(9000); ++i) {
    SCOPED_TRACE(i);
    const auto config = parse_model_config(mutator.mutate(text), "c.json");
    expect_said_well(config, "c.json: ");
    if (config.ok()) {
      ++num_accepted;
      plan_with(config.value());
    }
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(num_accepted, 0);
}

TEST(Mutation, IndexesAreReadOrRefused) {
  Mutator mutator(seed());
  nlohmann::json index = nlohmann::json::parse(read_text(tiny() + "/model.safetensors.index.json"));
  auto& map = index["weight_map"];
  while (map.size() > 20) map.erase(map.begin());
  const std::string text = index.dump();
  for (int32_t i = 0; i < mutations(4000); ++i) {
    SCOPED_TRACE(i);
    const auto read = parse_weight_index(mutator.mutate(text), "i.json");
    expect_said_well(read, "i.json: ");
    if (read.ok()) {
      for (const auto& [tensor, file] : read.value().file_of) {
        ASSERT_EQ(file.find('/'), std::string::npos);
        ASSERT_TRUE(file.ends_with(".safetensors"));
      }
    }
    if (HasFatalFailure()) return;
  }
}

// A file whose header is replaced again and again: the new one ends where the data begins.
class Rewritable {
 public:
  explicit Rewritable(const std::string& file) {
    uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<uint8_t>(file[i]);
    header_ = file.substr(8, length);
    bytes_ = std::string(kRoom, '\0') + file.substr(8 + length);
  }
  const std::string& header() const { return header_; }
  std::span<const uint8_t> with_header(const std::string& header, uint64_t said_length) {
    const size_t begin = kRoom - header.size() - 8;
    for (int i = 0; i < 8; ++i) bytes_[begin + i] = static_cast<char>(said_length >> (8 * i) & 255);
    bytes_.replace(begin + 8, header.size(), header);
    return {reinterpret_cast<const uint8_t*>(bytes_.data()) + begin, bytes_.size() - begin};
  }

 private:
  static constexpr size_t kRoom = 1 << 16;
  std::string header_;
  std::string bytes_;
};

void expect_inside(const std::map<std::string, TensorView>& tensors,
                   std::span<const uint8_t> file) {
  int64_t sum = 0;
  for (const auto& [name, tensor] : tensors) {
    int64_t bytes = dtype_bytes(tensor.dtype);
    for (const int64_t dim : tensor.shape) bytes *= dim;
    ASSERT_EQ(bytes, static_cast<int64_t>(tensor.bytes.size()));
    ASSERT_GE(tensor.bytes.data(), file.data());
    ASSERT_LE(tensor.bytes.data() + tensor.bytes.size(), file.data() + file.size());
    sum += bytes;
  }
  ASSERT_LT(sum, static_cast<int64_t>(file.size()));
}

void mutate_headers(const std::string& folder, int32_t num_mutations) {
  const uint32_t run_seed = seed();
  Mutator mutator(run_seed);
  const ModelConfig config =
      parse_model_config(read_text(folder + "/config.json"), "c.json").value();
  Rewritable file(read_text(folder + "/model.safetensors"));
  int32_t num_parsed = 0;
  for (int32_t i = 0; i < num_mutations; ++i) {
    SCOPED_TRACE(i);
    const std::string header = mutator.mutate(file.header());
    uint64_t length = header.size();
    if (mutator.below(50) == 0) length = uint64_t{1} << mutator.below(64);
    const auto bytes = file.with_header(header, length);
    const auto tensors = parse_safetensors(bytes, "DIR/f");
    expect_said_well(tensors, "DIR/f: ");
    if (tensors.ok()) {
      ++num_parsed;
      expect_inside(tensors.value(), bytes);
      expect_said_well(check_tensors(config, tensors.value(), "DIR"), "DIR");
    }
    if (::testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GT(num_parsed, 0);
}

TEST(Mutation, HeadersAreReadOrRefused) {
  mutate_headers(golden("bf16-real-heads-window128"), mutations(7000));
}

}  // namespace
}  // namespace mimo::checkpoint
