#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ops.h"

namespace mimo::kernels {

// The greatest of a row of logits: those above `value`, and the first `ties` (lower ids first) of
// the `num_equal` that equal it. -inf may be in the row, NaN not.
struct Cut {
  float value = 0;
  int64_t ties = 0;
  int64_t num_equal = 0;
};

// An integer that orders as the float does; the two zeros are one.
uint32_t ordered_key(float x);

// The `count` greatest. 0 < count <= row.size().
Cut cut_by_count(std::span<const float> row, int64_t count);
// The smallest set of greatest whose weights sum to `mass` or more (all, where rounding keeps them
// below). Equal logits have equal weights.
Cut cut_by_mass(std::span<const float> row, const float* weights, double mass);

// Zero weight to everything outside the cut.
void keep(std::span<const float> row, Cut cut, float* weights);
// The ids inside the cut, ascending.
void kept_ids(std::span<const float> row, Cut cut, std::vector<int32_t>& ids);

// The `count` greatest, best first, ties to the lower id; `logprob` is the logit.
std::vector<TokenLogprob> best(std::span<const float> row, int64_t count);

// One pass over a row: its maximum and whether all of it is finite.
struct RowSummary {
  float max = 0;
  bool finite = true;
};
RowSummary summarize(std::span<const float> row);
// The first id that holds `value`; -1 = none.
int32_t index_of(std::span<const float> row, float value);
// log(sum exp(row)). `buffer` is overwritten.
double log_sum_exp(std::span<const float> row, float max, std::vector<float>& buffer);
// 1 = the greatest; among equals the lower id comes first.
int32_t rank_of(std::span<const float> row, int32_t id);
// An index with probability proportional to its weight, for a uniform number in [0, 1).
int32_t draw(std::span<const float> weights, double uniform);
double sum(std::span<const float> values);

}  // namespace mimo::kernels
