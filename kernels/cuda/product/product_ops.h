#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// Everything that multiplies by weights: qkv, linear, dense_ffn, experts. Few rows go to the
// kernels of product/ that stream weights once, many to the tiled ones of tile/.
//
// Thread:    one.
// Lifetime:  `context` outlives it.
class ProductOps {
 public:
  explicit ProductOps(DeviceContext& context);
  ~ProductOps();

  Result<void> prepare(const StepLimits& limits);
  void qkv(const QkvParams& p);
  void linear(const LinearParams& p);
  void dense_ffn(const DenseFfnParams& p);
  void experts(const ExpertsParams& p);

 private:
  struct State;
  DeviceContext& context_;
  std::unique_ptr<State> state_;
};

}  // namespace mimo::kernels::cuda
