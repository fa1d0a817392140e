#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/cpu/context.h"

namespace mimo::kernels {
namespace {

// assignments: the tokens of expert 0, of expert 1, ... in ascending order, with their weights.
void sort_by_expert(const ExpertsParams& p, Workspace& space) {
  const int32_t num_experts = p.experts->gate_up.count;
  const int64_t num_choices = int64_t{p.num_tokens} * p.experts_per_token;
  const auto held = [&](int64_t i) {
    CHECK_GE(p.expert_ids[i], -1);
    const int32_t e = p.expert_ids[i] - p.experts->first;
    return p.expert_ids[i] >= 0 && e >= 0 && e < num_experts ? e : -1;
  };
  space.expert_begin.assign(static_cast<size_t>(num_experts) + 1, 0);
  for (int64_t i = 0; i < num_choices; ++i) {
    if (const int32_t e = held(i); e >= 0) ++space.expert_begin[e + 1];
  }
  for (int32_t e = 0; e < num_experts; ++e) space.expert_begin[e + 1] += space.expert_begin[e];
  int32_t* tokens = grown(space.assignments, num_choices);
  float* weights = grown(space.assigned_weights, num_choices);
  std::vector<int32_t> next(space.expert_begin.begin(), space.expert_begin.end() - 1);
  for (int64_t i = 0; i < num_choices; ++i) {
    const int32_t e = held(i);
    if (e < 0) continue;
    tokens[next[e]] = static_cast<int32_t>(i / p.experts_per_token);
    weights[next[e]++] = p.expert_weights[i];
  }
}

// The input rows of one expert, side by side.
ProductInput gather(Workspace& space, const ProductInput& x, const int32_t* tokens, int32_t count,
                    int32_t cols, int32_t groups) {
  float* rows = grown(space.gathered, int64_t{count} * cols);
  for (int32_t i = 0; i < count; ++i) {
    std::memcpy(rows + int64_t{i} * cols, x.values + int64_t{tokens[i]} * cols,
                sizeof(float) * cols);
  }
  if (x.scales == nullptr) return {rows, nullptr};
  float* scales = grown(space.gathered_scales, int64_t{count} * groups);
  for (int32_t i = 0; i < count; ++i) {
    std::memcpy(scales + int64_t{i} * groups, x.scales + int64_t{tokens[i]} * groups,
                sizeof(float) * groups);
  }
  return {rows, scales};
}

const PackedLinear& weight_of(const CpuContext& context, const LinearStack& stack, int32_t i) {
  return context.stacks.at(static_cast<size_t>(stack.index)).weights.at(static_cast<size_t>(i));
}

// out[token] += weight * ffn(x[token]) for the tokens of expert e, in float.
void add_expert(CpuContext& context, const ExpertsParams& p, const ProductInput& x, int32_t e) {
  const PackedLinear& gate_up = weight_of(context, p.experts->gate_up, e);
  const PackedLinear& down = weight_of(context, p.experts->down, e);
  CHECK_EQ(gate_up.cols(), p.x.cols);
  CHECK_EQ(gate_up.rows(), 2 * down.cols());
  CHECK_EQ(down.rows(), p.x.cols);
  Workspace& space = context.workspace;
  const int32_t begin = space.expert_begin[e];
  const int32_t count = space.expert_begin[e + 1] - begin;
  const ProductInput rows = gather(space, x, space.assignments.data() + begin, count,
                                   gate_up.cols(), gate_up.num_groups());
  float* wide = grown(space.wide, int64_t{count} * gate_up.rows());
  float* middle = grown(space.middle, int64_t{count} * down.cols());
  float* result = grown(space.result, int64_t{count} * down.rows());
  product(context, gate_up, rows, count, wide);
  silu_mul(context, wide, count, down.cols(), middle);
  const ProductInput y =
      product_input(context, down, middle, count, space.quantised_2, space.scales_2);
  product(context, down, y, count, result);
  auto* out = static_cast<float*>(p.out);
  for (int32_t i = 0; i < count; ++i) {
    float* to = out + int64_t{space.assignments[begin + i]} * down.rows();
    const float* from = result + int64_t{i} * down.rows();
    const float weight = space.assigned_weights[begin + i];
    for (int32_t c = 0; c < down.rows(); ++c) to[c] += weight * context.stored(from[c]);
  }
}

}  // namespace

void experts(CpuContext& context, const ExpertsParams& p) {
  CHECK(p.experts != nullptr);
  CHECK_EQ(p.experts->gate_up.count, p.experts->down.count);
  const int64_t size = int64_t{p.num_tokens} * p.x.cols;
  auto* out = static_cast<float*>(p.out);
  std::fill(out, out + size, 0.0f);
  if (p.num_tokens == 0 || p.experts->gate_up.count == 0) return;
  Workspace& space = context.workspace;
  sort_by_expert(p, space);
  const PackedLinear& first = weight_of(context, p.experts->gate_up, 0);
  const ProductInput x = product_input(context, first, static_cast<const float*>(p.x.values),
                                       p.num_tokens, space.quantised, space.scales);
  for (int32_t e = 0; e < p.experts->gate_up.count; ++e) {
    if (space.expert_begin[e] < space.expert_begin[e + 1]) add_expert(context, p, x, e);
  }
  if (context.mode == CpuMode::kF32) return;
  for (int64_t i = 0; i < size; ++i) out[i] = context.stored(out[i]);
}

}  // namespace mimo::kernels
