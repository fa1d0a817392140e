#pragma once

#include "kernels/cuda/device_context.h"
#include "kernels/cuda/product/chain.h"
#include "kernels/cuda/product/resident.h"
#include "kernels/cuda/product/slab.h"
#include "kernels/cuda/product/stream.h"
#include "kernels/cuda/product/swap.h"

// The batch-invariant mode's dense products.
namespace mimo::kernels::cuda::product {

// Whether the mode is on and a step of so many rows is one of its decode steps.
bool is_invariant_decode(const DeviceContext& context, int32_t num_tokens);

// stream() as plan_invariant() says, in as many launches as it takes: a row's bits do not depend on
// how many others there are. False: StreamOut::kQkv whose heads no kernel rotates, and nothing was
// done.
bool invariant_product(const StreamParams& params, const DeviceContext& context, SwapStream& swap,
                       ResidentStream& resident, SlabStream& slab, const ChainStream& chain);

// Whether ExpertsFew adds up these weights' products in the order of the mode's SwapStream.
bool few_adds_as_swap(const DeviceMatrix& gate_up, const DeviceMatrix& down);

// With the mode or without it, the tile for experts with `mean` rows each; 0: not by that kernel.
int32_t swap_tile_rows(const SwapStream& swap, const DeviceMatrix& gate_up,
                       const DeviceMatrix& down, double mean);

}  // namespace mimo::kernels::cuda::product
