#pragma once

#include <cstdint>
#include <span>

namespace mimo {

// 64 bits that depend on every bit of `value`.
inline uint64_t mix64(uint64_t value) {
  value ^= value >> 30;
  value *= 0xbf58476d1ce4e5b9ull;
  value ^= value >> 27;
  value *= 0x94d049bb133111ebull;
  return value ^ (value >> 31);
}

inline uint64_t hash_combine(uint64_t seed, uint64_t value) {
  return mix64(seed ^ (mix64(value) + 0x9e3779b97f4a7c15ull));
}

// The same on every machine and in every build; not for adversaries.
inline uint64_t hash_bytes(std::span<const uint8_t> bytes, uint64_t seed = 0) {
  uint64_t hash = hash_combine(seed, bytes.size());
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    uint64_t word = 0;
    for (size_t i = 0; i < 8; ++i) word |= static_cast<uint64_t>(bytes[at + i]) << (8 * i);
    hash = hash_combine(hash, word);
  }
  uint64_t tail = 0;
  for (size_t i = 0; at + i < bytes.size(); ++i) {
    tail |= static_cast<uint64_t>(bytes[at + i]) << (8 * i);
  }
  return hash_combine(hash, tail);
}

}  // namespace mimo
