#include "coordinator/text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <string>

#include "tests/coordinator/text/random_text.h"

namespace mimo::text {
namespace {

std::array<int32_t, 256> identity() {
  std::array<int32_t, 256> ids{};
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

// The definition: again and again over the whole piece.
std::vector<int32_t> reference(std::string_view piece, const std::vector<MergeRule>& rules) {
  std::vector<int32_t> ids;
  for (const char c : piece) ids.push_back(static_cast<uint8_t>(c));
  while (true) {
    size_t best = rules.size();
    size_t best_at = 0;
    for (size_t at = 0; at + 1 < ids.size(); ++at) {
      const auto rule = std::find_if(rules.begin(), rules.end(), [&](const MergeRule& r) {
        return r.left == ids[at] && r.right == ids[at + 1];
      });
      const auto rank = static_cast<size_t>(rule - rules.begin());
      if (rank < best) {
        best = rank;
        best_at = at;
      }
    }
    if (best == rules.size()) return ids;
    ids[best_at] = rules[best].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

// Rules over a few letters, each result a token of its own.
std::vector<MergeRule> random_rules(std::mt19937_64& random, int32_t count) {
  std::vector<int32_t> tokens = {'a', 'b', 'c'};
  std::map<std::pair<int32_t, int32_t>, bool> seen;
  std::vector<MergeRule> rules;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t left = pick_of(random, tokens);
    const int32_t right = pick_of(random, tokens);
    if (!seen.emplace(std::pair(left, right), true).second) continue;
    rules.push_back({left, right, 256 + i});
    tokens.push_back(256 + i);
  }
  std::shuffle(rules.begin(), rules.end(), random);
  return rules;
}

TEST(Bpe, PiecesOfEveryLengthMergeAsDefined) {
  auto random = seeded_random();
  for (int32_t round = 0; round < 25; ++round) {
    const auto rules = random_rules(random, static_cast<int32_t>(pick(random, 0, 40)));
    const Bpe bpe(identity(), rules);
    BpeScratch scratch;
    for (int32_t i = 0; i < 40; ++i) {
      std::string piece;
      for (int64_t n = pick(random, 0, 120); n > 0; --n)
        piece.push_back(static_cast<char>('a' + pick(random, 0, 2)));
      std::vector<int32_t> ids = {-7};  // what is there stays there
      std::vector<int32_t> again;

      bpe.append_ids(piece, &scratch, &ids);
      bpe.append_ids(piece, &scratch, &again);  // short ones now come from the cache

      EXPECT_EQ(ids.front(), -7);
      ids.erase(ids.begin());
      EXPECT_EQ(ids, reference(piece, rules)) << piece;
      EXPECT_EQ(again, ids) << piece;
    }
  }
}

TEST(Bpe, AQuarterMegabyteOfOneLetterTakesNoQuadraticTime) {
  // a a -> 256, 256 256 -> 257, and so on up to 1024 letters.
  std::vector<MergeRule> rules = {{'a', 'a', 256}};
  for (int32_t id = 256; id < 265; ++id) rules.push_back({id, id, id + 1});
  const Bpe bpe(identity(), rules);
  BpeScratch scratch;
  std::vector<int32_t> ids;
  const auto start = std::chrono::steady_clock::now();

  bpe.append_ids(std::string(1 << 18, 'a'), &scratch, &ids);

  EXPECT_EQ(ids, std::vector<int32_t>(256, 265));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace mimo::text
