#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/route/expert_plan.h"
#include "kernels/cuda/route/route_plan.h"
#include "kernels/ops.h"

// The router's kernels; route_plan.h says which serves a step.
namespace mimo::kernels::cuda::router {

constexpr int32_t kRouteExpertsMax = 1024;
constexpr int32_t kChosenMax = 32;  // experts of a token: a lane each

// The first bytes of each expert held here, which the L2 is asked for before it is known who is
// chosen.
struct AskedExperts {
  const uint8_t* weights = nullptr;  // [count][expert_bytes]
  int64_t expert_bytes = 0;
  int32_t count = 0;   // 0: none are asked for
  uint32_t bytes = 0;  // of each
};

struct RouteWork {
  RouteParams route;
  RoutePlan cut;
  float* scores = nullptr;        // kTiles: [splits, T, E] sums of x w^T over a split's columns
  uint32_t* score_box = nullptr;  // the others: [T, boxes, score_pitch] words of box.cuh,
  uint32_t* id_box = nullptr;     // and [T, K]; zeros between launches
  ExpertPlanParams plan;          // num_tokens 0: no plan is wanted of this launch
  AskedExperts asked;             // by kSplit and kCluster
  AddNormParams norm;             // that makes x, to be done by kFew; num_tokens 0: x is there
};

// Dynamic shared memory, before the first launch. The bounds on experts and groups are RouteOps'.
void prepare_few();
void prepare_split();
int32_t prepare_cluster();  // blocks that are there at the same time
void prepare_tile();

void launch_few(const RouteWork& work, cudaStream_t stream);
void launch_split(const RouteWork& work, cudaStream_t stream);
void launch_cluster(const RouteWork& work, cudaStream_t stream);
void launch_tiles(const RouteWork& work, cudaStream_t stream);

}  // namespace mimo::kernels::cuda::router
