#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/rounding.h"
#include "kernels/cpu/simd.h"

namespace mimo::kernels {
namespace {

constexpr int32_t kTilePanels = 4;   // 64 outputs x 128 inputs: weights in the first-level cache
constexpr int32_t kTileRows = 128;   // with their inputs and results in the second
constexpr int32_t kCopyRowsMin = 5;  // below, rows cannot evict each other from the cache

// Rows a power of two apart share the same few cache sets; copied side by side they do not.
const float* side_by_side(const float* x, int64_t stride, int32_t rows, int32_t depth,
                          float* copy) {
  for (int32_t r = 0; r < rows; ++r) {
    std::memcpy(copy + int64_t{r} * kDepth, x + r * stride, sizeof(float) * depth);
  }
  return copy;
}

// One tile: rows [row, row + rows), panels [panel, panel + panels).
void product_tile(const PackedLinear& w, const ProductInput& x, int32_t row, int32_t rows,
                  int32_t panel, int32_t panels, float* out) {
  alignas(64) float inputs[kTileRows * kDepth];
  alignas(64) float results[kTileRows * kTilePanels * kPanel];
  const int64_t cols = w.cols();
  ProductBlock block;
  block.rows = rows;
  block.panels = panels;
  block.b_bf16 = w.bf16();
  block.b_stride = cols * kPanel;
  block.c = results;
  block.c_stride = kTilePanels * kPanel;
  for (int32_t group = 0; group < w.num_groups(); ++group) {
    const int64_t col = int64_t{group} * kDepth;
    block.depth = static_cast<int32_t>(std::min<int64_t>(kDepth, cols - col));
    block.a = x.values + row * cols + col;
    block.a_stride = cols;
    if (rows >= kCopyRowsMin) {
      block.a = side_by_side(block.a, cols, rows, block.depth, inputs);
      block.a_stride = kDepth;
    }
    const auto* panel_bytes = static_cast<const uint8_t*>(w.panel(panel));
    block.b = panel_bytes + col * kPanel * (w.bf16() ? 2 : 4);
    block.add = group > 0;
    if (w.scaled()) {
      block.row_scales = x.scales + int64_t{row} * w.num_groups() + group;
      block.row_scale_stride = w.num_groups();
      block.col_scales = w.panel_scales(panel) + group * kPanel;
      block.col_scale_stride = int64_t{w.num_groups()} * kPanel;
    }
    simd().product(block);
  }
  const int32_t col = panel * kPanel;
  const int32_t width = std::min(panels * kPanel, w.rows() - col);
  for (int32_t r = 0; r < rows; ++r) {
    std::memcpy(out + int64_t{row + r} * w.rows() + col, results + r * block.c_stride,
                sizeof(float) * width);
  }
}

void quantise_row(const float* x, int32_t cols, float* values, float* scales) {
  for (int32_t col = 0; col < cols; col += kDepth) {
    const int32_t width = std::min(kDepth, cols - col);
    float largest = 0;
    for (int32_t i = 0; i < width; ++i) largest = std::max(largest, std::fabs(x[col + i]));
    const float scale = fp8_scale(largest);
    const float inverse = 1.0f / scale;
    for (int32_t i = 0; i < width; ++i) values[col + i] = round_e4m3(x[col + i] * inverse);
    scales[col / kDepth] = scale;
  }
}

}  // namespace

ProductInput product_input(CpuContext& context, const PackedLinear& w, const float* x,
                           int32_t num_rows, std::vector<float>& values,
                           std::vector<float>& scales) {
  if (!w.scaled()) return {x, nullptr};
  const int64_t cols = w.cols();
  const int64_t groups = w.num_groups();
  float* to = grown(values, num_rows * cols);
  float* to_scales = grown(scales, num_rows * groups);
  context.pool.run(num_rows, num_rows * cols * 20, [&](int64_t row) {
    quantise_row(x + row * cols, w.cols(), to + row * cols, to_scales + row * groups);
  });
  return {to, to_scales};
}

void product(CpuContext& context, const PackedLinear& w, const ProductInput& x, int32_t num_rows,
             float* out) {
  CHECK_EQ(w.scaled(), x.scales != nullptr);
  const int32_t num_tiles = (w.num_panels() + kTilePanels - 1) / kTilePanels;
  const int32_t num_chunks = (num_rows + kTileRows - 1) / kTileRows;
  const int64_t cost = int64_t{num_rows} * w.rows() * w.cols();
  context.pool.run(int64_t{num_tiles} * num_chunks, cost, [&](int64_t item) {
    const auto row = static_cast<int32_t>(item / num_tiles) * kTileRows;
    const auto panel = static_cast<int32_t>(item % num_tiles) * kTilePanels;
    product_tile(w, x, row, std::min(kTileRows, num_rows - row), panel,
                 std::min(kTilePanels, w.num_panels() - panel), out);
  });
}

}  // namespace mimo::kernels
