#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

namespace mimo::kernels::cuda {

// The (token, choice) pairs of a step that this rank's experts serve, sorted by expert and within
// an expert by pair, and the tiles that cover them: at most tile_rows sorted rows of one expert
// each, in the order of the experts. All in device memory.
struct ExpertPlan {
  int32_t* offsets = nullptr;    // [num_experts + 1] an expert's first sorted row
  int32_t* pairs = nullptr;      // [T * K] sorted row -> t * K + k
  int32_t* row_of = nullptr;     // [T * K] t * K + k -> sorted row; -1: not served here
  int4* tiles = nullptr;         // [tiles_max] {expert (0 = the first held), first row, rows, 0}
  int32_t* num_tiles = nullptr;  // [1]
  bool operator==(const ExpertPlan&) const = default;
};

struct ExpertPlanParams {
  const int32_t* expert_ids = nullptr;  // [T, K]; -1 and other ranks' experts are left out
  int32_t num_tokens = 0;
  int32_t experts_per_token = 0;
  int32_t first_expert = 0;
  int32_t num_experts = 0;  // held here
  int32_t tile_rows = 0;
  ExpertPlan plan;
  bool operator==(const ExpertPlanParams&) const = default;
};

// The most tiles that `num_pairs` pairs can make.
inline int32_t expert_tiles_max(int64_t num_pairs, int32_t num_experts, int32_t tile_rows) {
  return static_cast<int32_t>(std::min<int64_t>(num_pairs, num_experts) + num_pairs / tile_rows);
}

// Entries of `pairs` past the served ones are left as they were. The same input gives the same
// plan.
void plan_experts(const ExpertPlanParams& p, cudaStream_t stream);

// The router's kernels can leave the plan of the ids that they choose, for less than a kernel of
// its own costs, if they know which plan will be wanted. What the experts' products asked for last
// is that: layer after layer wants the same. In the products:
//   if (!plans->take(params)) plan_experts(params, stream);
//   plans->want(params);
// Between RouteOps::route() and take() nothing but the router may write the ids or the plan.
// Recorded work keeps what was decided when it was recorded, so a step is recorded as a whole.
//
// Thread:    one.
class ExpertPlans {
 public:
  void want(const ExpertPlanParams& p) { wanted_ = p; }
  // True when the router has made this very plan and nobody has taken it: then it is there for
  // kernels queued from now on.
  bool take(const ExpertPlanParams& p) {
    const bool there = is_made_ && wanted_ == p;
    is_made_ = false;
    return there;
  }
  // The router's side.
  const ExpertPlanParams& wanted() const { return wanted_; }
  void set_made(bool is_made) { is_made_ = is_made; }

 private:
  ExpertPlanParams wanted_;  // num_tokens 0: nothing yet
  bool is_made_ = false;     // wanted_, by the last route()
};

}  // namespace mimo::kernels::cuda
