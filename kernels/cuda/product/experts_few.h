#pragma once

#include <optional>
#include <unordered_map>

#include "base/result.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/product/experts_few_plan.h"
#include "kernels/cuda/tile/tensor_maps.h"
#include "kernels/ops.h"

namespace mimo::kernels::cuda::product {

// The experts of few tokens on SM90 in one kernel, from the input as e4m3 to the weighted sum: both
// products, what lies between them, and no plan of the pairs. Its blocks wait for one another, so
// all of them must find room on the device at once.
//
// Thread:    one.
// Lifetime:  `context` outlives it; a weight stays where it was at its first product.
class ExpertsFew {
 public:
  // Of a model with this hidden width. On other parts: one that refuses everything.
  static Result<ExpertsFew> create(DeviceContext& context, int32_t hidden);

  // Why it cannot compute these; null: it can. Weights: of the stacks in p.experts.
  const char* refusal(const ExpertsParams& p) const;
  void run(const ExpertsParams& p);

 private:
  struct Made {
    DeviceMatrix of;
    CUtensorMap map;
  };

  ExpertsFew(const DeviceContext& context, int32_t hidden) : context_(&context), hidden_(hidden) {}
  ExpertsFewProblem problem(const ExpertsParams& p) const;
  const CUtensorMap& weight_map(const DeviceMatrix& w, bool gate_up);

  const DeviceContext* context_;
  int32_t hidden_;
  std::optional<TensorMaps> maps_;              // SM90
  unsigned long long* blocks_ = nullptr;        // that are done with gate_up, of all launches
  uint32_t* middle_ = nullptr;                  // what lies between the products, of two launches
  std::unordered_map<const void*, Made> made_;  // by where the values lie
};

}  // namespace mimo::kernels::cuda::product
