#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/product/experts_few_plan.h"

namespace mimo::kernels::cuda::product {

// The kernel's only parameter.
struct FewArgs {
  CUtensorMap gate_up_map;  // boxes of 32 gate rows and their up rows, eight by eight
  CUtensorMap down_map;     // boxes of 32 rows
  const float* gate_up_scales;
  const float* down_scales;
  const uint8_t* x;            // [T, hidden] e4m3
  const float* x_scales;       // [T, hidden / 128]
  const int32_t* ids;          // [T, K]
  const float* weights;        // [T, K]
  uint32_t* middle;            // [2][kFewPairsMax * kFewColumnsMax / 2] two bf16: [T * K, columns]
  __nv_bfloat16* out;          // [T, hidden]
  unsigned long long* blocks;  // that are done with gate_up, of all launches
  int32_t num_tokens;
  int32_t experts_per_token;
  int32_t num_pairs;
  int32_t first_expert;
  int32_t num_experts;
  int32_t hidden;
  int32_t columns;
  ExpertsFewShape shape;
};

}  // namespace mimo::kernels::cuda::product
