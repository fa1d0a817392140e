#pragma once

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// The router: fp32 throughout.
//
// Thread:    one.
// Lifetime:  `context` outlives it.
class RouteOps {
 public:
  explicit RouteOps(DeviceContext& context) : context_(context) {}

  Result<void> prepare(const StepLimits& limits);
  void route(const RouteParams& p);

 private:
  DeviceContext& context_;
  float* scores_ = nullptr;  // [tokens_max, num_experts]
};

}  // namespace mimo::kernels::cuda
