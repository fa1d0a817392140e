#pragma once

#include <cstdint>
#include <optional>

#include "kernels/cuda/product/slab_plan.h"
#include "kernels/cuda/product/swap_plan.h"

// How the batch-invariant mode computes products of at most kInvariantRowsMax tokens: by one kernel
// for each weight, with one order of the columns' sums, however many tokens there are. Pure
// functions of the weight.
namespace mimo::kernels::cuda::product {

constexpr int32_t kInvariantRowsMax = 256;
constexpr int32_t kChainTokens = 64;  // of a tile of chain.h

enum class InvariantKernel : uint8_t {
  kResident = 0,  // resident_plan.h: column slices of eight blocks, whatever the tile
  kSwap = 1,      // swap_plan.h with invariant_k_split()
  kStream = 2,    // stream_plan.h: columns cut over the warps by the weight's width
};

// A launch has at most `tokens_max` tokens; more take several. From `chain_tokens_min` on chain.h's
// kernel is faster, with chains of so many column blocks; 0: it cannot. Of e4m3, launches of more
// than `tokens_max` tokens are slab_plan.h's with this shape, where there is one.
struct InvariantPlan {
  InvariantKernel kernel = InvariantKernel::kStream;
  int32_t tokens_max = kInvariantRowsMax;
  int32_t chain_blocks = 0;
  int32_t chain_tokens_min = 0;
  std::optional<SlabShape> slab = std::nullopt;

  bool chains(int32_t num_tokens) const {
    return chain_blocks > 0 && num_tokens >= chain_tokens_min;
  }
};

// `quantised`: the input of an e4m3 weight is there as e4m3.
InvariantPlan plan_invariant(const SwapProblem& problem, bool quantised);

// The tile for experts that get `mean` rows each, at most as wide as both weights allow; 0: the
// kernel computes none of them.
int32_t invariant_expert_rows(const SwapProblem& gate_up, const SwapProblem& down, double mean);

}  // namespace mimo::kernels::cuda::product
