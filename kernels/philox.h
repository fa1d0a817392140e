#pragma once

#include <array>
#include <cstdint>

#ifdef __CUDACC__
#define MIMO_HOST_DEVICE __host__ __device__
#else
#define MIMO_HOST_DEVICE
#endif

namespace mimo::kernels {

// std::array has no members that a device may call.
struct PhiloxWords {
  uint32_t x0 = 0;
  uint32_t x1 = 0;
  uint32_t x2 = 0;
  uint32_t x3 = 0;
};

// Philox4x32 with ten rounds (Salmon, Moraes, Dror, Shaw 2011): 128 random bits that are a function
// of key and counter alone.
MIMO_HOST_DEVICE constexpr PhiloxWords philox_words(uint64_t key, uint64_t counter) {
  PhiloxWords x{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0};
  auto k0 = static_cast<uint32_t>(key);
  auto k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xd2511f53u} * x.x0;
    const uint64_t b = uint64_t{0xcd9e8d57u} * x.x2;
    x = {static_cast<uint32_t>(b >> 32) ^ x.x1 ^ k0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ x.x3 ^ k1, static_cast<uint32_t>(a)};
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  return x;
}
constexpr std::array<uint32_t, 4> philox4x32(uint64_t key, uint64_t counter) {
  const PhiloxWords x = philox_words(key, counter);
  return {x.x0, x.x1, x.x2, x.x3};
}

// In [0, 1), with 53 random bits.
MIMO_HOST_DEVICE constexpr double philox_uniform(uint64_t key, uint64_t counter) {
  const PhiloxWords bits = philox_words(key, counter);
  const uint64_t both = uint64_t{bits.x1} << 32 | bits.x0;
  return static_cast<double>(both >> 11) * 0x1p-53;
}

}  // namespace mimo::kernels
