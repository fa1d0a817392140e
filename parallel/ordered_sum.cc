#include "parallel/ordered_sum.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace mimo::parallel {
namespace {

// Sums go through blocks that stay in L1: inputs may be unaligned and may be the output.
constexpr int64_t kBlock = 1024;

void load(const float* from, int64_t n, float* to) { std::memcpy(to, from, n * sizeof(float)); }
void load(const uint16_t* from, int64_t n, float* to) {
  uint16_t bits[kBlock];
  std::memcpy(bits, from, n * sizeof(uint16_t));
  for (int64_t i = 0; i < n; ++i) to[i] = bf16_to_float(bits[i]);
}

void store(const float* from, int64_t n, float* to) { std::memcpy(to, from, n * sizeof(float)); }
void store(const float* from, int64_t n, uint16_t* to) {
  uint16_t bits[kBlock];
  for (int64_t i = 0; i < n; ++i) bits[i] = float_to_bf16(from[i]);
  std::memcpy(to, bits, n * sizeof(uint16_t));
}

// Elements are addressed by bytes: a pointer into a received message need not be aligned for T.
template <typename T>
const T* at(const void* base, int64_t i) {
  return reinterpret_cast<const T*>(static_cast<const char*>(base) + i * sizeof(T));
}

template <typename T>
void sum(std::span<const void* const> in, void* out, int64_t count) {
  float total[kBlock], part[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    load(at<T>(in[0], begin), n, total);
    for (size_t k = 1; k < in.size(); ++k) {
      load(at<T>(in[k], begin), n, part);
      for (int64_t i = 0; i < n; ++i) total[i] += part[i];
    }
    store(total, n, const_cast<T*>(at<T>(out, begin)));
  }
}

}  // namespace

void ordered_sum(DType dtype, std::span<const void* const> in, void* out, int64_t count) {
  CHECK(!in.empty());
  CHECK_GE(count, 0);
  if (dtype == DType::kF32) return sum<float>(in, out, count);
  CHECK(dtype == DType::kBf16);
  sum<uint16_t>(in, out, count);
}

}  // namespace mimo::parallel
