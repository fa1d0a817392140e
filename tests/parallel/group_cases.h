#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "base/dtype.h"
#include "base/hash.h"

namespace mimo::parallel::test {

// One all_reduce, the same on every rank.
struct ReduceCase {
  DType dtype = DType::kF32;
  int64_t count = 0;
  uint64_t seed = 0;
};

// A dtype and a count: mostly small, some odd, some large enough to be cut among the ranks.
inline ReduceCase random_case(uint64_t seed) {
  std::mt19937_64 random(seed);
  ReduceCase out;
  out.dtype = random() % 2 == 0 ? DType::kF32 : DType::kBf16;
  const int64_t bound = random() % 4 == 0 ? 60000 : 3000;
  out.count = static_cast<int64_t>(random() % static_cast<uint64_t>(bound));
  out.seed = seed;
  return out;
}

// What `rank` brings: values of many magnitudes, so that another order of adding gives other bits.
inline std::vector<uint8_t> rank_data(const ReduceCase& c, int32_t rank) {
  const uint64_t start = hash_combine(c.seed, static_cast<uint64_t>(rank));
  std::vector<uint8_t> out(static_cast<size_t>(c.count * dtype_bytes(c.dtype)));
  for (int64_t i = 0; i < c.count; ++i) {
    const uint64_t bits = mix64(start + static_cast<uint64_t>(i));
    const float sign = (bits & 1) != 0 ? -1.0f : 1.0f;
    const float mantissa = 1.0f + static_cast<float>((bits >> 8) & 0xffff) / 65536.0f;
    const float value = sign * std::ldexp(mantissa, static_cast<int>((bits >> 32) % 24) - 12);
    if (c.dtype == DType::kF32) {
      std::memcpy(out.data() + i * 4, &value, 4);
    } else {
      const uint16_t half = float_to_bf16(value);
      std::memcpy(out.data() + i * 2, &half, 2);
    }
  }
  return out;
}

// The sum in rank order, in plain loops.
inline std::vector<uint8_t> expected_sum(const ReduceCase& c, int32_t size) {
  std::vector<float> total(static_cast<size_t>(c.count));
  for (int32_t r = 0; r < size; ++r) {
    const auto part = rank_data(c, r);
    for (int64_t i = 0; i < c.count; ++i) {
      float value = 0.0f;
      if (c.dtype == DType::kF32) {
        std::memcpy(&value, part.data() + i * 4, 4);
      } else {
        uint16_t half = 0;
        std::memcpy(&half, part.data() + i * 2, 2);
        value = bf16_to_float(half);
      }
      total[i] = r == 0 ? value : total[i] + value;
    }
  }
  std::vector<uint8_t> out(static_cast<size_t>(c.count * dtype_bytes(c.dtype)));
  for (int64_t i = 0; i < c.count; ++i) {
    if (c.dtype == DType::kF32) {
      std::memcpy(out.data() + i * 4, &total[i], 4);
    } else {
      const uint16_t half = float_to_bf16(total[i]);
      std::memcpy(out.data() + i * 2, &half, 2);
    }
  }
  return out;
}

inline std::vector<uint8_t> gather_data(uint64_t seed, int64_t bytes, int32_t rank) {
  std::mt19937_64 random(seed * 1000 + static_cast<uint64_t>(rank));
  std::vector<uint8_t> out(static_cast<size_t>(bytes));
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(random());
  return out;
}

inline std::vector<uint8_t> expected_gather(uint64_t seed, int64_t bytes, int32_t size) {
  std::vector<uint8_t> out;
  for (int32_t r = 0; r < size; ++r) {
    const auto part = gather_data(seed, bytes, r);
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

}  // namespace mimo::parallel::test
