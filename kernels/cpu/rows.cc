#include <cstring>

#include "base/check.h"
#include "kernels/cpu/context.h"

namespace mimo::kernels {

void embed(CpuContext& context, const EmbedParams& p) {
  const PackedLinear& table = context.linears.at(p.table.index);
  const int32_t hidden = table.cols();
  auto* out = static_cast<float*>(p.out);
  context.pool.run(p.num_tokens, int64_t{p.num_tokens} * hidden * 4, [&](int64_t t) {
    float* row = out + t * hidden;
    const int64_t id = int64_t{p.ids[t]} - p.vocab_begin;
    if (id < 0 || id >= table.rows()) {
      std::memset(row, 0, sizeof(float) * hidden);
      return;
    }
    for (int32_t c = 0; c < hidden; ++c) {
      row[c] = context.stored(table.value(static_cast<int32_t>(id), c));
    }
  });
}

void gather_rows(CpuContext& context, const GatherRowsParams& p) {
  const auto* in = static_cast<const float*>(p.in);
  auto* out = static_cast<float*>(p.out);
  context.pool.run(p.num_rows, int64_t{p.num_rows} * p.cols, [&](int64_t r) {
    CHECK_GE(p.rows[r], 0);
    std::memcpy(out + r * p.cols, in + int64_t{p.rows[r]} * p.cols, sizeof(float) * p.cols);
  });
}

}  // namespace mimo::kernels
