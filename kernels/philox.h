#pragma once

#include <array>
#include <cstdint>

namespace mimo::kernels {

// Philox4x32 with ten rounds (Salmon, Moraes, Dror, Shaw 2011): 128 random bits that are a function
// of key and counter alone.
constexpr std::array<uint32_t, 4> philox4x32(uint64_t key, uint64_t counter) {
  std::array<uint32_t, 4> x{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0,
                            0};
  auto k0 = static_cast<uint32_t>(key);
  auto k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xd2511f53u} * x[0];
    const uint64_t b = uint64_t{0xcd9e8d57u} * x[2];
    x = {static_cast<uint32_t>(b >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  return x;
}

// In [0, 1), with 53 random bits.
constexpr double philox_uniform(uint64_t key, uint64_t counter) {
  const auto bits = philox4x32(key, counter);
  const uint64_t both = uint64_t{bits[1]} << 32 | bits[0];
  return static_cast<double>(both >> 11) * 0x1p-53;
}

}  // namespace mimo::kernels
