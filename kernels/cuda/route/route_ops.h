#pragma once

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/route/expert_plan.h"
#include "kernels/cuda/route/route_kernels.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda {

// The router: fp32 throughout. x and the parts of the weights (weight_parts.h) are exact as bf16,
// their products as fp32, and only sums are rounded.
//
// Thread:    one.
// Lifetime:  `context` outlives it, and what share_plans() was given.
class RouteOps {
 public:
  explicit RouteOps(DeviceContext& context) : context_(context) {}

  Result<void> prepare(const StepLimits& limits);
  // route() makes the plans that `plans` says are wanted, where its kernel can.
  void share_plans(ExpertPlans* plans) { plans_ = plans; }
  // Whether route() can do the add_norm() on its way that makes its x, if that can be folded.
  bool folds_norm(const RouteParams& p) const;
  // `norm`: to be done first, or null.
  void route(const RouteParams& p, const AddNormParams* norm = nullptr);

 private:
  bool makes_plan(const RouteParams& p, router::RouteKernel kernel) const;
  router::AskedExperts asked_of(const RouteParams& p, router::RouteKernel kernel) const;

  DeviceContext& context_;
  ExpertPlans* plans_ = nullptr;
  float* scores_ = nullptr;
  int64_t num_scores_ = 0;  // entries of scores_
  uint32_t* score_box_ = nullptr;
  int64_t num_box_words_ = 0;       // of score_box_
  int32_t num_cluster_places_ = 0;  // prepare_cluster()
  uint32_t* id_box_ = nullptr;
  int32_t num_box_tokens_ = 0;  // rows of id_box_
};

}  // namespace mimo::kernels::cuda
