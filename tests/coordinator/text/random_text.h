#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

namespace mimo::text {

// A generator whose seed is printed, and replayed from MIMO_TEST_SEED.
inline std::mt19937_64 seeded_random() {
  const char* wanted = std::getenv("MIMO_TEST_SEED");
  const uint64_t seed =
      wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : std::random_device()();
  std::cout << "MIMO_TEST_SEED=" << seed << "\n";
  ::testing::Test::RecordProperty("seed", std::to_string(seed));
  return std::mt19937_64(seed);
}

inline int64_t pick(std::mt19937_64& random, int64_t min, int64_t max) {
  return std::uniform_int_distribution<int64_t>(min, max)(random);
}

template <typename T>
const T& pick_of(std::mt19937_64& random, const std::vector<T>& from) {
  return from[static_cast<size_t>(pick(random, 0, static_cast<int64_t>(from.size()) - 1))];
}

inline std::string random_bytes(std::mt19937_64& random, int64_t size) {
  std::string bytes;
  for (int64_t i = 0; i < size; ++i) bytes.push_back(static_cast<char>(pick(random, 0, 255)));
  return bytes;
}

// Up to `count` picks of `from` in a row.
inline std::string random_text(std::mt19937_64& random, const std::vector<std::string>& from,
                               int64_t count) {
  std::string text;
  for (int64_t i = pick(random, 0, count); i > 0; --i) text += pick_of(random, from);
  return text;
}

}  // namespace mimo::text
