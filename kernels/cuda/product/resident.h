#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/product/resident_plan.h"
#include "kernels/cuda/product/swap.h"

namespace mimo::kernels::cuda::product {

// stream() on SM90 for dense products of up to 64 tokens whose weights fit into all the SMs'
// shared memory: they are there before the inputs are, so that a product that follows short kernels
// costs little more than the way of its tokens. Numerics are those of SwapStream.
//
// Thread:    one.
// Lifetime:  `context` and `swap` outlive it.
class ResidentStream {
 public:
  static Result<ResidentStream> create(const DeviceContext& context, SwapStream& swap);

  // How it would compute this product; nothing where it cannot. x must be as the weight's product
  // reads it: e4m3 with scales for FP8.
  std::optional<ResidentShape> choose(const DeviceMatrix& w, StreamOut out_kind,
                                      const QkvTarget* target, int32_t num_tokens) const;
  // Whether that is a qkv that can do the norm of its rows on the way.
  bool folds_norm(const DeviceMatrix& w, const QkvTarget& target, int32_t num_tokens) const;
  // `shape` from choose(); params.shape is not read. Not grouped. `norm`: what makes x, to be done
  // on the way, where the shape folds_norm(); or null.
  void run(const StreamParams& params, const ResidentShape& shape,
           const AddNormParams* norm = nullptr);

 private:
  ResidentStream(const DeviceContext& context, SwapStream& swap)
      : context_(&context), swap_(&swap) {}

  const DeviceContext* context_;
  SwapStream* swap_;
  std::optional<TensorMaps> maps_;  // SM90
};

}  // namespace mimo::kernels::cuda::product
