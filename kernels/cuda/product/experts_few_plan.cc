#include "kernels/cuda/product/experts_few_plan.h"

#include <algorithm>

namespace mimo::kernels::cuda::product {
namespace {

constexpr int32_t kAlignment = 1024;  // of stages; where a block's shared memory begins is free
constexpr int32_t kStagesMax = 14;
constexpr int32_t kBarrierBytes = 16 * kStagesMax;

}  // namespace

ExpertsFewShape experts_few_shape(const ExpertsFewProblem& p) {
  const int32_t pairs = p.num_tokens * p.experts_per_token;
  const int32_t row_bytes = std::max(p.hidden, kFewGroup * p.columns);
  const int32_t tables = 16 + pairs * (3 * 4 + 2 * 4 * kFewTokensMax);
  ExpertsFewShape out;
  out.blocks = p.hidden / kFewRows;
  // Offsets behind the ring first.
  out.middle_scales_at = row_bytes * kFewTokensMax;
  out.token_scales_at = out.middle_scales_at + kFewGroup * (p.columns / 128) * kFewTokensMax * 4;
  out.stage_scales_at = out.token_scales_at + p.hidden / 128 * kFewTokensMax * 4;
  out.sums_at = out.stage_scales_at + kStagesMax * 2 * kFewSlices * 4;
  out.tables_at = out.sums_at + kFewGroup * kFewSlices * p.num_tokens * kFewPitch * 4;
  out.barriers_at = (out.tables_at + tables + 15) / 16 * 16;
  const int32_t rest = out.barriers_at + kBarrierBytes + kAlignment;
  out.stages = std::clamp((p.shared_bytes_max - rest) / kFewStageBytes, 0, kStagesMax);
  out.tokens_at = out.stages * kFewStageBytes;
  for (int32_t* const at : {&out.middle_scales_at, &out.token_scales_at, &out.stage_scales_at,
                            &out.sums_at, &out.tables_at, &out.barriers_at}) {
    *at += out.tokens_at;
  }
  out.shared_bytes = out.tokens_at + rest;
  return out;
}

const char* experts_few_refusal(const ExpertsFewProblem& p) {
  if (p.capability != 90) return "experts_few: needs compute capability 9.0";
  if (p.gate_up_dtype != DType::kF8E4m3 || p.down_dtype != DType::kF8E4m3) {
    return "experts_few: a weight is not e4m3";
  }
  if (!p.quantised) return "experts_few: the input has no e4m3 copy";
  if (p.num_tokens < 1 || p.num_tokens > kFewTokensMax) return "experts_few: more than 8 tokens";
  if (p.num_tokens * p.experts_per_token > kFewPairsMax) {
    return "experts_few: more than 64 pairs of a token and an expert";
  }
  if (p.hidden % kFewColumns != 0 || p.columns % kFewColumns != 0) {
    return "experts_few: a weight's rows are no multiples of 512 columns";
  }
  if (p.gate_up_rows_per_scale != 128 || p.down_rows_per_scale != 128) {
    return "experts_few: a scale is not of 128 rows";
  }
  const ExpertsFewShape shape = experts_few_shape(p);
  if (shape.blocks > p.num_sms) return "experts_few: the blocks do not run all at once";
  if (shape.stages < kFewStagesMin) return "experts_few: shared memory is too small";
  return nullptr;
}

bool experts_few_pays(int32_t num_tokens) {
  constexpr int32_t kTokensFaster = 4;
  return num_tokens <= kTokensFaster;
}

}  // namespace mimo::kernels::cuda::product
