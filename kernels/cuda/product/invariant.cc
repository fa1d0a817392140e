#include "kernels/cuda/product/invariant.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/cuda/product/invariant_plan.h"
#include "kernels/cuda/product/stream_plan.h"

namespace mimo::kernels::cuda::product {
namespace {

constexpr double kOneTile = 1.0;

int64_t out_row_bytes(const StreamParams& p) {
  if (p.out_kind == StreamOut::kQkv) return int64_t{p.target.num_q_heads} * p.target.k_dim * 2;
  if (p.out_kind == StreamOut::kSiluMul) return p.w.rows;  // half of them, two bytes each
  return int64_t{p.w.rows} * (p.out_kind == StreamOut::kF32 ? 4 : 2);
}

// Rows [first, first + count) of the product.
StreamParams part_of(const StreamParams& p, int32_t first, int32_t count) {
  const bool ready = p.x_scales != nullptr;
  StreamParams out = p;
  out.x = static_cast<const uint8_t*>(p.x) + int64_t{first} * p.w.cols * (ready ? 1 : 2);
  if (ready) out.x_scales = p.x_scales + int64_t{first} * p.w.scale_cols;
  const int64_t out_at = first * out_row_bytes(p);
  if (p.out_kind == StreamOut::kQkv) {
    out.target.first_row = first;
    out.target.q = static_cast<uint8_t*>(p.target.q) + out_at;
  } else {
    out.out = static_cast<uint8_t*>(p.out) + out_at;
  }
  out.num_tokens = count;
  return out;
}

}  // namespace

bool is_invariant_decode(const DeviceContext& context, int32_t num_tokens) {
  return context.options().batch_invariant && num_tokens <= kInvariantRowsMax;
}

bool invariant_product(const StreamParams& params, const DeviceContext& context, SwapStream& swap,
                       ResidentStream& resident, SlabStream& slab, const ChainStream& chain) {
  const bool heads = params.out_kind == StreamOut::kQkv;
  const QkvTarget* const target = heads ? &params.target : nullptr;
  const DeviceMatrix& w = params.w;
  const InvariantPlan plan =
      plan_invariant(swap.problem_of(w, params.out_kind, target), params.x_scales != nullptr);
  const int32_t tokens_max = plan.slab.has_value() ? plan.slab->tile.token_rows : plan.tokens_max;
  if (plan.kernel == InvariantKernel::kStream && heads && !rotates_in_place(params.target)) {
    return false;
  }
  if (plan.chains(params.num_tokens)) {
    chain.run(params, plan.chain_blocks);
    return true;
  }
  for (int32_t first = 0; first < params.num_tokens; first += tokens_max) {
    const int32_t count = std::min(tokens_max, params.num_tokens - first);
    StreamParams part = part_of(params, first, count);
    if (count > plan.tokens_max) {
      slab.run(part, *plan.slab);
    } else if (plan.kernel == InvariantKernel::kResident) {
      resident.run(part, resident.choose(w, part.out_kind, target, count).value());
    } else if (plan.kernel == InvariantKernel::kSwap) {
      const int32_t tile = swap_token_rows(count);
      swap.run(part, swap.choose(w, part.out_kind, target, tile, kOneTile).value());
    } else {
      part.shape = stream_shape(w.dtype, w.cols,
                                count <= 8    ? 8
                                : count <= 16 ? 16
                                              : 32,
                                context.shared_bytes_max())
                       .value();
      stream(part, context);
    }
  }
  return true;
}

bool few_adds_as_swap(const DeviceMatrix& gate_up, const DeviceMatrix& down) {
  return invariant_k_split(gate_up.dtype, gate_up.cols) == 2 &&
         invariant_k_split(down.dtype, down.cols) == 1;
}

int32_t swap_tile_rows(const SwapStream& swap, const DeviceMatrix& gate_up,
                       const DeviceMatrix& down, double mean) {
  const SwapProblem first = swap.problem_of(gate_up, StreamOut::kSiluMul, nullptr);
  const SwapProblem second = swap.problem_of(down, StreamOut::kBf16, nullptr);
  return first.batch_invariant ? invariant_expert_rows(first, second, mean)
                               : swap_expert_rows(mean);
}

}  // namespace mimo::kernels::cuda::product
