#include "lockstep_choices.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace mimo::node::model_test {
namespace {

constexpr double kNearTie = 1e-6;

// What experts are chosen by, of one row: s + bias.
std::vector<double> scores(const kernels::RouteParams& p, int64_t row) {
  const float* const x = static_cast<const float*>(p.x) + row * p.hidden;
  std::vector<double> out;
  for (int64_t e = 0; e < p.num_experts; ++e) {
    double sum = 0;
    for (int64_t i = 0; i < p.hidden; ++i) sum += double{x[i]} * p.weight[e * p.hidden + i];
    out.push_back(1 / (1 + std::exp(-sum)) + p.bias[e]);
  }
  return out;
}

// The two best scores of an expert's group, added.
double group_score(const kernels::RouteParams& p, const std::vector<double>& all, int32_t expert) {
  const int32_t size = p.num_experts / p.num_groups;
  const auto begin = all.begin() + expert / size * size;
  std::vector<double> group(begin, begin + size);
  std::sort(group.begin(), group.end(), std::greater<>());
  return group[0] + group[1];
}

bool nearly_tied(const kernels::RouteParams& p, int64_t row, int32_t a, int32_t b) {
  if (a < 0 || b < 0 || a >= p.num_experts || b >= p.num_experts) return false;
  const std::vector<double> all = scores(p, row);
  const auto at = [&](int32_t e) { return all[static_cast<size_t>(e)]; };
  if (std::fabs(at(a) - at(b)) < kNearTie) return true;
  return p.num_groups > 1 && std::fabs(group_score(p, all, a) - group_score(p, all, b)) < kNearTie;
}

}  // namespace

void compare_routes(const kernels::RouteParams& p, const std::vector<int32_t>& ids,
                    const std::vector<float>& weights, OpErrors& errors) {
  std::vector<float> out;
  std::vector<float> want;
  for (int64_t row = 0; row < p.num_tokens; ++row) {
    const auto begin = static_cast<size_t>(row * p.experts_per_token);
    const auto end = begin + static_cast<size_t>(p.experts_per_token);
    const auto differ = static_cast<size_t>(std::mismatch(ids.begin() + static_cast<int64_t>(begin),
                                                          ids.begin() + static_cast<int64_t>(end),
                                                          p.expert_ids + begin)
                                                .first -
                                            ids.begin());
    if (differ < end) {
      errors.add_equal(nearly_tied(p, row, ids[differ], p.expert_ids[differ]),
                       "row " + std::to_string(row) + " has expert " + std::to_string(ids[differ]) +
                           ", not " + std::to_string(p.expert_ids[differ]));
      continue;
    }
    out.insert(out.end(), weights.begin() + static_cast<int64_t>(begin),
               weights.begin() + static_cast<int64_t>(end));
    want.insert(want.end(), p.expert_weights + begin, p.expert_weights + end);
  }
  errors.add_call(out, want, p.experts_per_token);
}

void compare_choice(const kernels::DrawResult& want, const kernels::DrawResult& out,
                    OpErrors& errors) {
  errors.add_equal(want.id == out.id && want.finite == out.finite && want.rank == out.rank,
                   "token " + std::to_string(out.id) + " of rank " + std::to_string(out.rank) +
                       ", not " + std::to_string(want.id) + " of rank " +
                       std::to_string(want.rank));
  const float shifted = 1 - out.logprob;  // a certain token's is zero
  const float want_shifted = 1 - want.logprob;
  errors.add_call({&shifted, 1}, {&want_shifted, 1}, 1);
}

void compare_full(const float* want, const std::vector<float>& out, int32_t vocab,
                  OpErrors& errors) {
  errors.add_call(out, {want, out.size()}, vocab);
}

}  // namespace mimo::node::model_test
