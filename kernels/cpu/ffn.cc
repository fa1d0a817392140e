#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/simd.h"

namespace mimo::kernels {

void silu_mul(CpuContext& context, const float* gate_up, int32_t num_rows, int32_t columns,
              float* out) {
  context.pool.run(num_rows, int64_t{num_rows} * columns * 20, [&](int64_t t) {
    const float* gate = gate_up + t * 2 * columns;
    const float* up = gate + columns;
    float* row = out + t * columns;
    simd().exps(gate, columns, 0.0f, -1.0f, row);
    for (int32_t c = 0; c < columns; ++c) {
      row[c] = context.stored(gate[c] / (1.0f + row[c]) * up[c]);
    }
  });
}

void dense_ffn(CpuContext& context, const DenseFfnParams& p) {
  const PackedLinear& gate_up = context.linears.at(p.gate_up.index);
  const PackedLinear& down = context.linears.at(p.down.index);
  CHECK_EQ(gate_up.cols(), p.x.cols);
  CHECK_EQ(gate_up.rows(), 2 * down.cols());
  Workspace& space = context.workspace;
  const ProductInput x = product_input(context, gate_up, static_cast<const float*>(p.x.values),
                                       p.num_tokens, space.quantised, space.scales);
  float* wide = grown(space.wide, int64_t{p.num_tokens} * gate_up.rows());
  float* middle = grown(space.middle, int64_t{p.num_tokens} * down.cols());
  product(context, gate_up, x, p.num_tokens, wide);
  silu_mul(context, wide, p.num_tokens, down.cols(), middle);
  const ProductInput y =
      product_input(context, down, middle, p.num_tokens, space.quantised_2, space.scales_2);
  auto* out = static_cast<float*>(p.out);
  product(context, down, y, p.num_tokens, out);
  const int64_t size = int64_t{p.num_tokens} * down.rows();
  if (context.mode == CpuMode::kF32) return;
  for (int64_t i = 0; i < size; ++i) out[i] = context.stored(out[i]);
}

}  // namespace mimo::kernels
