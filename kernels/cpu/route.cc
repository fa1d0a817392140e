#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/simd.h"

namespace mimo::kernels {
namespace {

// The sum of a group's two best.
float group_score(const float* choice, int32_t size) {
  float best = -std::numeric_limits<float>::infinity();
  float second = best;
  for (int32_t i = 0; i < size; ++i) {
    if (choice[i] > best) {
      second = best;
      best = choice[i];
    } else if (choice[i] > second) {
      second = choice[i];
    }
  }
  return best + second;
}

// Indices of the `count` greatest, greatest first, ties to the lower index.
void select(const std::vector<float>& values, int32_t count, std::vector<int32_t>& indices) {
  indices.resize(values.size());
  std::iota(indices.begin(), indices.end(), 0);
  std::partial_sort(indices.begin(), indices.begin() + count, indices.end(),
                    [&](int32_t a, int32_t b) {
                      if (values[a] != values[b]) return values[a] > values[b];
                      return a < b;
                    });
  indices.resize(static_cast<size_t>(count));
}

bool is_padding(const Runs& runs, int64_t t) {
  return runs.context != nullptr && runs.context[runs.row_run[t]] == 0;
}

void route_token(const RouteParams& p, int64_t t) {
  if (is_padding(p.runs, t)) {
    std::fill_n(p.expert_ids + t * p.experts_per_token, p.experts_per_token, -1);
    std::fill_n(p.expert_weights + t * p.experts_per_token, p.experts_per_token, 0.0f);
    return;
  }
  const auto num_experts = static_cast<size_t>(p.num_experts);
  std::vector<float> scores(num_experts);
  std::vector<float> choice(num_experts);
  std::vector<int32_t> chosen;
  simd().dots(static_cast<const float*>(p.x) + t * p.hidden, p.weight, p.num_experts, p.hidden,
              scores.data());
  for (size_t e = 0; e < num_experts; ++e) {
    scores[e] = 1.0f / (1.0f + std::exp(-scores[e]));
    // A NaN row must not break the sort's order; it still ends as NaN weights.
    choice[e] = std::isnan(scores[e]) ? 0.0f : scores[e] + p.bias[e];
  }
  if (p.num_groups > 1) {
    const int32_t size = p.num_experts / p.num_groups;
    std::vector<float> groups(static_cast<size_t>(p.num_groups));
    for (int32_t g = 0; g < p.num_groups; ++g) groups[g] = group_score(&choice[g * size], size);
    select(groups, p.groups_per_token, chosen);
    std::vector<bool> open(static_cast<size_t>(p.num_groups), false);
    for (const int32_t g : chosen) open[g] = true;
    for (int32_t e = 0; e < p.num_experts; ++e) {
      if (!open[e / size]) choice[e] = -std::numeric_limits<float>::infinity();
    }
  }
  select(choice, p.experts_per_token, chosen);
  float sum = 0;
  for (const int32_t e : chosen) sum += scores[e];
  const float factor = (p.normalize ? 1.0f / (sum + 1e-20f) : 1.0f) * p.scaling;
  for (int32_t k = 0; k < p.experts_per_token; ++k) {
    p.expert_ids[t * p.experts_per_token + k] = chosen[k];
    p.expert_weights[t * p.experts_per_token + k] = scores[chosen[k]] * factor;
  }
}

}  // namespace

void route(CpuContext& context, const RouteParams& p) {
  CHECK_GT(p.num_groups, 0);
  CHECK_GT(p.experts_per_token, 0);
  CHECK_EQ(p.num_experts % p.num_groups, 0);
  CHECK(p.num_groups == 1 || p.num_experts / p.num_groups >= 2);
  CHECK_LE(p.groups_per_token, p.num_groups);
  CHECK_LE(p.experts_per_token, p.num_experts / p.num_groups * p.groups_per_token);
  const int64_t cost = int64_t{p.num_tokens} * p.num_experts * (p.hidden + 100);
  context.pool.run(p.num_tokens, cost, [&](int64_t t) { route_token(p, t); });
}

}  // namespace mimo::kernels
