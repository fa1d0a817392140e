#pragma once

#include "kernels/cuda/sampling/row_cluster.cuh"

// What the model's own logits say of a token; a cluster a row.
namespace mimo::kernels::cuda::row {

struct Question {
  int32_t id = -1;  // -1: no token
  int32_t num_logprobs = -1;
  bool raw_logits = false;
  TokenLogprob* top = nullptr;  // [top_max] or null
  int32_t top_max = 0;
  float* full = nullptr;  // [vocab] or null
};
struct Answer {
  float logprob = 0;
  int32_t rank = 0;
};

// The `count` greatest into top, best first; shown as x - shift.
__device__ inline void list_best(Row& row, int32_t count, double shift, TokenLogprob* top) {
  const cg::cluster_group cluster = cg::this_cluster();
  const Cut cut = find_cut(row, OneEach{}, static_cast<uint64_t>(count));
  const uint64_t equal_before = equals_before(row, cut.key);
  const auto is_inside = [&](float x, uint64_t& equal) {
    const uint32_t key = ordered_key(x);
    equal += key == cut.key ? 1 : 0;
    return key > cut.key || (key == cut.key && equal <= cut.ties);
  };
  uint64_t inside = 0;
  uint64_t equal = equal_before;
  for (int32_t i = row.own_begin; i < row.own_end; ++i) {
    inside += is_inside(row.x[i], equal) ? 1 : 0;
  }
  uint64_t at = scan(row, inside).before;
  equal = equal_before;
  for (int32_t i = row.own_begin; i < row.own_end && inside > 0; ++i) {
    if (!is_inside(row.x[i], equal)) continue;
    cluster.map_shared_rank(&row.shared, 0)->best[at++] = packed(row.x[i], row.begin + i);
  }
  cluster.sync();
  if (cluster.block_rank() != 0 || static_cast<int32_t>(threadIdx.x) >= count) return;
  const uint64_t mine = row.shared.best[threadIdx.x];
  int32_t better = 0;
  for (int32_t i = 0; i < count; ++i) better += row.shared.best[i] > mine ? 1 : 0;
  top[better] = {packed_id(mine), static_cast<float>(packed_value(mine) - shift)};
}

__device__ inline int32_t rank_of(Row& row, float x, int32_t id) {
  uint64_t better = 0;
  for (auto i = static_cast<int32_t>(threadIdx.x); i < row.size; i += kThreads) {
    better += row.x[i] > x || (row.x[i] == x && row.begin + i < id) ? 1 : 0;
  }
  return static_cast<int32_t>(scan(row, better).total) + 1;
}

// The row holds the model's logits, the greatest of them `max`.
__device__ inline Answer describe(Row& row, const Source& source, float max, const Question& ask) {
  Answer out;
  if (ask.num_logprobs == -1) return out;
  double shift = 0;
  if (!ask.raw_logits) {
    const uint64_t mass = total_mass(row, Weight{max, 1.0f});
    shift = max + log(static_cast<double>(mass) / double{kMassOne});
  }
  if (ask.id >= 0) {
    const float x = source.at(ask.id);
    out.logprob = static_cast<float>(x - shift);
    out.rank = rank_of(row, x, ask.id);
  }
  const bool listed = ask.num_logprobs > 0 && ask.num_logprobs <= kTopLogprobsMax &&
                      ask.num_logprobs <= ask.top_max;
  if (listed && ask.top != nullptr) {
    list_best(row, min(ask.num_logprobs, row.vocab), shift, ask.top);
  }
  if (!listed && ask.num_logprobs != 0 && ask.full != nullptr) {
    for (auto i = static_cast<int32_t>(threadIdx.x); i < row.size; i += kThreads) {
      ask.full[row.begin + i] = static_cast<float>(row.x[i] - shift);
    }
  }
  return out;
}

}  // namespace mimo::kernels::cuda::row
