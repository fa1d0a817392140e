#pragma once

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// The router: fp32 throughout. x is exact as fp32, products are fused multiply-adds.
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
  float* scores_ = nullptr;      // [splits, T, E] sums of x w^T over a split's columns
  int64_t num_scores_ = 0;       // entries of scores_
  uint32_t* arrived_ = nullptr;  // [1] blocks of a launch that are done; 0 between launches
};

}  // namespace mimo::kernels::cuda
