#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/route/expert_plan.h"
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
  // experts() takes the plan that the router made, where it made the one wanted. `plans` outlives
  // this.
  void share_plans(ExpertPlans* plans);
  // Whether qkv() can do the add_norm() on its way that makes its x, if that can be folded.
  bool folds_norm(const QkvParams& p) const;
  // `norm`: to be done first, or null.
  void qkv(const QkvParams& p, const AddNormParams* norm = nullptr);
  void linear(const LinearParams& p);
  void dense_ffn(const DenseFfnParams& p);
  void experts(const ExpertsParams& p);

 private:
  struct State;
  DeviceContext& context_;
  std::unique_ptr<State> state_;
};

}  // namespace mimo::kernels::cuda
