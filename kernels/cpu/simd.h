#pragma once

#include <cstdint>
#include <span>

namespace mimo::kernels {

// Weights lie in panels of 16 outputs: [panel][input][16], so that one vector holds 16 outputs'
// weights of one input.
constexpr int32_t kPanel = 16;
// A product sums this many inputs before it adds to the result; also the width of an FP8 scale.
constexpr int32_t kDepth = 128;

// c[r][16 p + i] (+)= row_scale * col_scale * sum_k a[r][k] * b[p][k][i], k ascending, one fused
// multiply-add a term: an element's bits depend on its own row and column alone, not on how many
// rows or panels stand in the block, nor on the width of the vectors.
struct ProductBlock {
  const float* a = nullptr;  // [rows, depth], a_stride apart
  int64_t a_stride = 0;
  const void* b = nullptr;  // [panels][depth][16] f32, or bf16 when b_bf16
  int64_t b_stride = 0;     // elements from panel to panel
  bool b_bf16 = false;
  float* c = nullptr;  // [rows, panels * 16], c_stride apart
  int64_t c_stride = 0;
  bool add = false;                   // to what c holds, else c is written
  const float* row_scales = nullptr;  // [rows], row_scale_stride apart; null = no scales at all
  int64_t row_scale_stride = 0;
  const float* col_scales = nullptr;  // [panels][16], col_scale_stride apart
  int64_t col_scale_stride = 0;
  int32_t rows = 0;
  int32_t panels = 0;
  int32_t depth = 0;
};

// The inner loops that carry the time, one set an instruction set.
struct Simd {
  const char* name;
  void (*product)(const ProductBlock& block);
  // out[i] = sum_k x[k] * w[i * n + k] over `num` rows of w, in 16 interleaved sums.
  void (*dots)(const float* x, const float* w, int32_t num, int64_t n, float* out);
  // out[i] = exp((x[i] - shift) * factor), within 2 units in the last place; -inf gives 0, NaN
  // stays NaN. An element's bits do not depend on its place. `out` may be x.
  void (*exps)(const float* x, int64_t n, float shift, float factor, float* out);
};

// The best set that this machine has.
const Simd& simd();
// All that it has, plainest first.
std::span<const Simd* const> simd_sets();

}  // namespace mimo::kernels
