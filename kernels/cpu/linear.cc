#include "base/check.h"
#include "kernels/cpu/context.h"

namespace mimo::kernels {

void linear(CpuContext& context, const LinearParams& p) {
  const PackedLinear& w = context.linears.at(p.w.index);
  Workspace& space = context.workspace;
  auto* out = static_cast<float*>(p.out);
  const ProductInput x = product_input(context, w, static_cast<const float*>(p.x), p.num_tokens,
                                       space.quantised, space.scales);
  product(context, w, x, p.num_tokens, out);
  if (p.out_f32 || context.mode == CpuMode::kF32) return;
  context.pool.run(p.num_tokens, int64_t{p.num_tokens} * w.rows() * 2, [&](int64_t t) {
    float* row = out + t * w.rows();
    for (int32_t c = 0; c < w.rows(); ++c) row[c] = context.stored(row[c]);
  });
}

}  // namespace mimo::kernels
