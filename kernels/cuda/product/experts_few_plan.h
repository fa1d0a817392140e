#pragma once

#include <cstdint>

#include "base/dtype.h"

// How SM90 computes the experts of few tokens in one kernel. Pure functions of the shape.
namespace mimo::kernels::cuda::product {

constexpr int32_t kFewTokensMax = 4;  // half the columns of an instruction
constexpr int32_t kFewPairsMax = 32;  // one a lane
constexpr int32_t kFewRows = 32;      // columns of the output that a block has: rows of down
constexpr int32_t kFewGateRows = 32;  // of a unit
constexpr int32_t kFewColumns = 256;  // weight columns of a stage: of 64 rows
constexpr int32_t kFewBlockBytes = 64 * 128;
constexpr int32_t kFewStageBytes = 64 * kFewColumns;
constexpr int32_t kFewTileBytes = 8 * 128;  // what is multiplied by 128 weight columns
constexpr int32_t kFewPitch = 68;           // floats from one token's 64 sums to the next's
constexpr int32_t kFewStagesMin = 6;
constexpr int32_t kFewColumnsMax = 1024;
// Stages on their way to a block, the others wait in its ring; and of down's first ones, while
// other blocks may still wait for gate_up's last.
constexpr int32_t kFewAhead = 5;
constexpr int32_t kFewAheadFirst = 2;
constexpr int32_t kFewFirst = 8;

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
  int32_t tokens_at = 0;         // [hidden / 128][kFewTileBytes]; then the middle of ..
  int32_t middle_scales_at = 0;  // .. [slots / 2][columns / 128][8] likewise
  int32_t token_scales_at = 0;   // [hidden / 128][kFewTokensMax]
  int32_t sums_at = 0;           // [2][2][T][kFewPitch]; then results [pairs][kFewRows]
  int32_t tables_at = 0;         // FewTables
  int32_t barriers_at = 0;
  int32_t shared_bytes = 0;
};

// Without a look at whether it can be computed so; `stages` may be less than kFewStagesMin.
ExpertsFewShape experts_few_shape(const ExpertsFewProblem& problem);

// Why the kernel cannot compute it; null: it can.
const char* experts_few_refusal(const ExpertsFewProblem& problem);

// Whether it is faster than a kernel for each product and one for the sum. H200, 8 of 256 experts a
// token, 4096 x 512, weights cold: 1 token 15.0 us, otherwise 28.7; 2 tokens 25.6 and 46.7; 4
// tokens 47.5 and 75.7.
bool experts_few_pays(int32_t num_tokens);

}  // namespace mimo::kernels::cuda::product
