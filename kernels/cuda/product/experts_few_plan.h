#pragma once

#include <cstdint>

#include "base/dtype.h"

// How SM90 computes the experts of few tokens in one kernel. Pure functions of the shape.
namespace mimo::kernels::cuda::product {

constexpr int32_t kFewTokensMax = 8;  // columns of an instruction
constexpr int32_t kFewPairsMax = 64;  // two a lane
constexpr int32_t kFewRows = 32;      // weight rows of a stage
constexpr int32_t kFewColumns = 512;  // weight columns of a stage: 128 for each of four warps
constexpr int32_t kFewGateRows = kFewRows / 2;
constexpr int32_t kFewBoxBytes = kFewRows * 128;
constexpr int32_t kFewStageBytes = kFewRows * kFewColumns;
constexpr int32_t kFewSlices = kFewColumns / 128;
constexpr int32_t kFewPitch = 36;  // floats from one token's 32 sums to the next's
constexpr int32_t kFewGroup = 8;   // experts whose results are weighted together
constexpr int32_t kFewStagesMin = 4;

// What the experts are, as far as the choice goes.
struct ExpertsFewProblem {
  int32_t capability = 0;
  int32_t num_sms = 0;
  int32_t shared_bytes_max = 0;
  DType gate_up_dtype = DType::kBf16;
  DType down_dtype = DType::kBf16;
  int32_t hidden = 0;
  int32_t columns = 0;  // of an expert: rows of gate
  int32_t gate_up_rows_per_scale = 128;
  int32_t down_rows_per_scale = 128;
  int32_t num_tokens = 0;
  int32_t experts_per_token = 0;
  bool quantised = false;  // the input is there as e4m3
};

// Where the parts of a block's shared memory begin; the ring of stages at 0.
struct ExpertsFewShape {
  int32_t blocks = 0;  // each has kFewRows columns of the output
  int32_t stages = 0;
  int32_t tokens_at = 0;         // [hidden / 128][kFewTokensMax][128] e4m3; then the middle of ..
  int32_t middle_scales_at = 0;  // .. [kFewGroup][columns / 128][kFewTokensMax] likewise
  int32_t token_scales_at = 0;   // [hidden / 128][kFewTokensMax]
  int32_t stage_scales_at = 0;   // [stages][2][kFewSlices]
  int32_t sums_at = 0;           // [kFewGroup][kFewSlices][T][kFewPitch]
  int32_t tables_at = 0;         // FewTables
  int32_t barriers_at = 0;
  int32_t shared_bytes = 0;
};

// Without a look at whether it can be computed so; `stages` may be less than kFewStagesMin.
ExpertsFewShape experts_few_shape(const ExpertsFewProblem& problem);

// Why the kernel cannot compute it; null: it can.
const char* experts_few_refusal(const ExpertsFewProblem& problem);

// Whether it is faster than a kernel for each product and one for the sum. H200, 8 of 256 experts
// a token, 4096 x 512, weights cold: 1 token 20.1 us, otherwise 28.7; 2 tokens 34.1 and 46.7; 4
// tokens 60.5 and 75.7. At 8 tokens an earlier form took 110.0, otherwise 107.8; 5 to 7 were not
// measured.
bool experts_few_pays(int32_t num_tokens);

}  // namespace mimo::kernels::cuda::product
