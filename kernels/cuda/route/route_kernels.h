#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/route/expert_plan.h"
#include "kernels/cuda/route/route_plan.h"
#include "kernels/ops.h"

// The router's kernels; route_plan.h says which serves a step.
namespace mimo::kernels::cuda::router {

// Which groups of tokens a launch has finished; zeros between launches.
constexpr int32_t kArrivalsMax = 64;
struct Arrivals {
  uint32_t* blocks = nullptr;  // [kArrivalsMax] blocks that left their scores of the group
  uint32_t* groups = nullptr;  // [1] groups that have their experts
};

constexpr int32_t kRouteExpertsMax = 1024;

struct RouteWork {
  RouteParams route;
  float* scores = nullptr;  // [splits, T, E] sums of x w^T over a split's columns
  Arrivals arrivals;
  ExpertPlanParams plan;  // num_tokens 0: no plan is wanted of this launch
};

// Dynamic shared memory, before the first launch. The bounds on experts and groups are RouteOps'.
void prepare_few();
void prepare_cluster();
void prepare_tile();

void launch_few(const RouteWork& work, cudaStream_t stream);
void launch_cluster(const RouteWork& work, const RoutePlan& plan, cudaStream_t stream);
void launch_tile_cluster(const RouteWork& work, const RoutePlan& plan, cudaStream_t stream);
void launch_tiles(const RouteWork& work, const RoutePlan& plan, cudaStream_t stream);

}  // namespace mimo::kernels::cuda::router
