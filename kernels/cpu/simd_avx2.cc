#include <immintrin.h>

#include "kernels/cpu/simd_loops.h"

namespace mimo::kernels {
namespace {

struct Avx2Vector {
  static constexpr int kWidth = 8;
  static constexpr int kSums = 12;  // of 16 registers
  static constexpr int kRows = 6;

  static Avx2Vector zero() { return {_mm256_setzero_ps()}; }
  static Avx2Vector broadcast(float x) { return {_mm256_set1_ps(x)}; }
  static Avx2Vector load(const float* from) { return {_mm256_loadu_ps(from)}; }
  static Avx2Vector load_bf16(const uint16_t* from) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16))};
  }
  static Avx2Vector fma(Avx2Vector a, Avx2Vector b, Avx2Vector c) {
    return {_mm256_fmadd_ps(a.v, b.v, c.v)};
  }
  static Avx2Vector add(Avx2Vector a, Avx2Vector b) { return {_mm256_add_ps(a.v, b.v)}; }
  static Avx2Vector mul(Avx2Vector a, Avx2Vector b) { return {_mm256_mul_ps(a.v, b.v)}; }
  static float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  void store(float* to) const { _mm256_storeu_ps(to, v); }

  __m256 v;
};

}  // namespace

extern const Simd kSimdAvx2;
const Simd kSimdAvx2{"avx2", &product<Avx2Vector>, &dots<Avx2Vector>, &exps<Avx2Vector>};

}  // namespace mimo::kernels
