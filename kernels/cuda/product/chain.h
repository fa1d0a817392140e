#pragma once

#include <optional>

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/product/invariant_plan.h"
#include "kernels/cuda/product/stream.h"
#include "kernels/cuda/tile/tensor_maps.h"

namespace mimo::kernels::cuda::product {

// Dense bf16 products of more tokens than a tile of ResidentStream or SwapStream holds, on SM90:
// the same chains of column blocks, added in the same order, so that a row has the same bits.
//
// Thread:    one.
// Lifetime:  `context` outlives it.
class ChainStream {
 public:
  // On other parts: one that must not run.
  static Result<ChainStream> create(const DeviceContext& context);

  // Plain rows, to bf16 or f32. `chain_blocks` of InvariantPlan; params.shape is not read.
  void run(const StreamParams& params, int32_t chain_blocks) const;

 private:
  explicit ChainStream(const DeviceContext& context) : context_(&context) {}

  const DeviceContext* context_;
  std::optional<TensorMaps> maps_;  // SM90
};

}  // namespace mimo::kernels::cuda::product
