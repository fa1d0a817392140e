#pragma once

#include <cstdint>

#include "kernels/cuda/route/expert_plan.h"

// What one block of the router's can plan: see plan_block.cuh.
namespace mimo::kernels::cuda::router {

constexpr int32_t kPlanThreads = 256;
constexpr int32_t kPlanExpertsMax = kPlanThreads;  // a thread an expert
constexpr int32_t kPlanWordsMax = 16;              // of 32 items
constexpr int32_t kPlanPairsMax = 1 << 15;         // rows and tiles are counted in one word

// `items` = T where a token's experts differ, else T * K.
inline bool fits_plan_block(const ExpertPlanParams& p, int64_t items) {
  return p.num_experts <= kPlanExpertsMax && items <= kPlanWordsMax * 32 &&
         int64_t{p.num_tokens} * p.experts_per_token < kPlanPairsMax;
}

}  // namespace mimo::kernels::cuda::router
