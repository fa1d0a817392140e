#include <immintrin.h>

#include "kernels/cpu/simd_loops.h"

namespace mimo::kernels {
namespace {

struct Avx512Vector {
  static constexpr int kWidth = 16;
  static constexpr int kSums = 24;  // of 32 registers
  static constexpr int kRows = 12;

  static Avx512Vector zero() { return {_mm512_setzero_ps()}; }
  static Avx512Vector broadcast(float x) { return {_mm512_set1_ps(x)}; }
  static Avx512Vector load(const float* from) { return {_mm512_loadu_ps(from)}; }
  static Avx512Vector load_bf16(const uint16_t* from) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
  }
  static Avx512Vector fma(Avx512Vector a, Avx512Vector b, Avx512Vector c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
  }
  static Avx512Vector add(Avx512Vector a, Avx512Vector b) { return {_mm512_add_ps(a.v, b.v)}; }
  static Avx512Vector mul(Avx512Vector a, Avx512Vector b) { return {_mm512_mul_ps(a.v, b.v)}; }
  static float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  void store(float* to) const { _mm512_storeu_ps(to, v); }

  __m512 v;
};

}  // namespace

extern const Simd kSimdAvx512;
const Simd kSimdAvx512{"avx512", &product<Avx512Vector>, &dots<Avx512Vector>, &exps<Avx512Vector>};

}  // namespace mimo::kernels
