#include <cstring>

#include "kernels/cpu/simd_loops.h"

namespace mimo::kernels {
namespace {

// Four floats in plain loops, which any compiler turns into its machine's vectors. A product is
// rounded before it is added, unlike the other sets'.
struct PlainVector {
  static constexpr int kWidth = 4;
  static constexpr int kSums = 8;
  static constexpr int kRows = 2;

  static PlainVector zero() { return {}; }
  static PlainVector broadcast(float x) { return {{x, x, x, x}}; }
  static PlainVector load(const float* from) {
    PlainVector out;
    std::memcpy(out.v, from, sizeof out.v);
    return out;
  }
  static PlainVector load_bf16(const uint16_t* from) {
    PlainVector out;
    for (int i = 0; i < kWidth; ++i) {
      const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
      std::memcpy(&out.v[i], &bits, sizeof bits);
    }
    return out;
  }
  static PlainVector fma(PlainVector a, PlainVector b, PlainVector c) {
    for (int i = 0; i < kWidth; ++i) c.v[i] += a.v[i] * b.v[i];
    return c;
  }
  static PlainVector add(PlainVector a, PlainVector b) {
    for (int i = 0; i < kWidth; ++i) a.v[i] += b.v[i];
    return a;
  }
  static PlainVector mul(PlainVector a, PlainVector b) {
    for (int i = 0; i < kWidth; ++i) a.v[i] *= b.v[i];
    return a;
  }
  static float fma1(float a, float b, float c) { return a * b + c; }
  void store(float* to) const { std::memcpy(to, v, sizeof v); }

  float v[kWidth] = {};
};

}  // namespace

extern const Simd kSimdPlain;
const Simd kSimdPlain{"plain", &product<PlainVector>, &dots<PlainVector>, &exps<PlainVector>};

}  // namespace mimo::kernels
