#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/product/invariant.h"
#include "kernels/cuda/product/product_state.h"
#include "kernels/cuda/product/stream_plan.h"
#include "kernels/cuda/route/expert_plan.h"

namespace mimo::kernels::cuda {

using product::StreamOut;
using product::StreamParams;

void ProductOps::State::plan_for(const ExpertsParams& p, int32_t tile_rows) {
  const DeviceMatrix& gate_up = context.stack(p.experts->gate_up);
  CHECK_LE(p.num_tokens, limits.tokens_max);
  CHECK_LE(p.experts_per_token, limits.experts_per_token);
  CHECK_LE(gate_up.count, limits.num_local_experts);
  CHECK_LE(gate_up.rows, 2 * limits.expert_cols_max);
  CHECK_EQ(gate_up.cols, limits.hidden);
  const ExpertPlanParams wanted = {.expert_ids = p.expert_ids,
                                   .num_tokens = p.num_tokens,
                                   .experts_per_token = p.experts_per_token,
                                   .first_expert = p.experts->first,
                                   .num_experts = gate_up.count,
                                   .tile_rows = tile_rows,
                                   .plan = plan};
  if (plans == nullptr || !plans->take(wanted)) plan_experts(wanted, context.stream());
  if (plans != nullptr) plans->want(wanted);
}

// False: it cannot be computed so, and nothing was done.
bool ProductOps::State::swap_experts(const ExpertsParams& p) {
  const DeviceMatrix& gate_up = context.stack(p.experts->gate_up);
  const DeviceMatrix& down = context.stack(p.experts->down);
  const auto num_pairs = p.num_tokens * p.experts_per_token;
  const int32_t num_experts = std::max(limits.num_experts, gate_up.count);
  const int32_t tile_rows =
      product::swap_tile_rows(*swap, gate_up, down, static_cast<double>(num_pairs) / num_experts);
  const double num_tiles =
      product::experts_busy(num_pairs, num_experts) * gate_up.count / num_experts;
  const bool shares = product::worth_sharing(num_tiles);
  const auto first =
      swap->choose(gate_up, StreamOut::kSiluMul, nullptr, tile_rows, num_tiles, shares);
  const auto second = swap->choose(down, StreamOut::kBf16, nullptr, tile_rows, num_tiles, shares);
  if (!first.has_value() || !second.has_value()) return false;
  plan_for(p, tile_rows);

  StreamParams params = stream_params({p.x.values, p.x.q, p.x.q_scales}, gate_up);
  params.out_kind = StreamOut::kSiluMul;
  params.out = middle;
  params.num_tokens = num_pairs;
  params.plan = &plan;
  params.pairs_div = p.experts_per_token;
  swap->run(params, *first, product::nearly_all_busy(num_tiles, gate_up.count));

  params = stream_params({.values = middle}, down);
  params.out = expert_out;
  params.num_tokens = num_pairs;
  params.plan = &plan;
  params.plan_is_ready = true;
  swap->run(params, *second);
  return true;
}

void ProductOps::State::stream_experts(const ExpertsParams& p, int32_t tile_rows) {
  const DeviceMatrix& gate_up = context.stack(p.experts->gate_up);
  const DeviceMatrix& down = context.stack(p.experts->down);
  const int32_t shared_max = context.shared_bytes_max();
  const auto num_pairs = p.num_tokens * p.experts_per_token;
  plan_for(p, tile_rows);

  StreamParams params = stream_params({p.x.values, p.x.q, p.x.q_scales}, gate_up);
  params.shape = product::stream_shape(gate_up.dtype, gate_up.cols, tile_rows, shared_max).value();
  params.out_kind = StreamOut::kSiluMul;
  params.out = middle;
  params.num_tokens = num_pairs;
  params.plan = &plan;
  params.pairs_div = p.experts_per_token;
  product::stream(params, context);

  params = stream_params({.values = middle}, down);
  params.shape = product::stream_shape(down.dtype, down.cols, tile_rows, shared_max).value();
  params.out = expert_out;
  params.num_tokens = num_pairs;
  params.plan = &plan;
  params.plan_is_ready = true;
  product::stream(params, context);
}

void ProductOps::State::tile_experts(const ExpertsParams& p) {
  const DeviceMatrix& gate_up = context.stack(p.experts->gate_up);
  const DeviceMatrix& down = context.stack(p.experts->down);
  const auto num_pairs = p.num_tokens * p.experts_per_token;
  plan_for(p, tile.tile_rows());

  const ProductInput x = quantised({p.x.values, p.x.q, p.x.q_scales}, gate_up, p.num_tokens);
  const bool fp8 = gate_up.dtype == DType::kF8E4m3;
  TileGemmParams params;
  params.a = fp8 ? x.q : x.values;
  params.a_scales = fp8 ? x.q_scales : nullptr;
  params.a_rows = plan.pairs;
  params.a_rows_div = p.experts_per_token;
  params.w = gate_up;
  params.out = middle;
  params.out_kind = TileOut::kSiluMul;
  params.num_rows = num_pairs;
  params.plan = &plan;
  tile.run(params);

  const bool down_fp8 = down.dtype == DType::kF8E4m3;
  const ProductInput between = quantised({.values = middle}, down, num_pairs);
  params.a = down_fp8 ? between.q : between.values;
  params.a_scales = down_fp8 ? between.q_scales : nullptr;
  params.a_rows = nullptr;
  params.a_rows_div = 1;
  params.w = down;
  params.out = expert_out;
  params.out_kind = TileOut::kBf16;
  tile.run(params);
}

}  // namespace mimo::kernels::cuda
