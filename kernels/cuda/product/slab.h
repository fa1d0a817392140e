#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/product/slab_plan.h"
#include "kernels/cuda/product/swap.h"

namespace mimo::kernels::cuda::product {

// stream() on SM90 for dense FP8 products of up to 256 tokens, inputs quantised before: one wave of
// clusters, each of which reads its weights once. Numerics are those of SwapStream.
//
// Thread:    one.
// Lifetime:  `context` and `swap` outlive it.
class SlabStream {
 public:
  static Result<SlabStream> create(const DeviceContext& context, const SwapStream& swap);

  // How it would compute this product; nothing where it cannot or should not.
  std::optional<SlabShape> choose(const DeviceMatrix& w, StreamOut out_kind,
                                  const QkvTarget* target, int32_t num_tokens) const;
  // `shape` from choose(), or slab_shape() of a problem that is not refused; params.shape is not
  // read. Not grouped; x is e4m3 with its scales.
  void run(const StreamParams& params, const SlabShape& shape);

 private:
  SlabStream(const DeviceContext& context, const SwapStream& swap)
      : context_(&context), swap_(&swap) {}

  const DeviceContext* context_;
  const SwapStream* swap_;
  std::optional<TensorMaps> maps_;  // SM90
};

}  // namespace mimo::kernels::cuda::product
