#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ops.h"

namespace mimo::kernels {

// The greatest of a row of logits: those whose key is greater, and the first `ties` (lower ids
// first) of those whose key is equal. -inf may be in the row, NaN not.
struct Cut {
  uint32_t key = 0;
  int64_t ties = 0;
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
// log(sum exp(row)).
double log_sum_exp(std::span<const float> row, float max);
// 1 = the greatest; among equals the lower id comes first.
int32_t rank_of(std::span<const float> row, int32_t id);
// An id with probability proportional to its weight, for a uniform number in [0, 1).
int32_t draw(std::span<const float> weights, double uniform);
double sum(std::span<const float> values);

}  // namespace mimo::kernels
