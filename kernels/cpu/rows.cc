#include <cstring>

#include "base/check.h"
#include "kernels/cpu/context.h"

namespace mimo::kernels {

void embed(CpuContext& context, const EmbedParams& p) {
  const PackedLinear& table = context.linears.at(p.table.index);
  const int32_t hidden = table.cols();
  auto* out = static_cast<float*>(p.out);
  for (int32_t t = 0; t < p.num_tokens; ++t) CHECK(p.ids[t] >= 0 || p.last_tokens != nullptr);
  context.pool.run(p.num_tokens, int64_t{p.num_tokens} * hidden * 4, [&](int64_t t) {
    float* row = out + t * hidden;
    const int32_t token = p.ids[t] < 0 ? p.last_tokens[~p.ids[t]] : p.ids[t];
    const int64_t id = int64_t{token} - p.vocab_begin;
    if (token < 0 || id < 0 || id >= table.rows()) {
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

void scatter(const ScatterParams& p) {
  for (int32_t i = 0; i < p.count; ++i) p.table[p.at[i]] = p.values[i];
}

}  // namespace mimo::kernels
