#include "kernels/cuda/product/experts_few_plan.h"

#include <algorithm>

namespace mimo::kernels::cuda::product {
namespace {

constexpr int32_t kAlignment = 1024;  // of stages; where a block's shared memory begins is free
constexpr int32_t kStagesMax = 14;
constexpr int32_t kBarrierBytes = 16 * kStagesMax;
constexpr int32_t kTableBytes = 4 * kFewPairsMax * (5 + kFewTokensMax) + 16;
constexpr int32_t kHiddenMax = 8192;  // half the columns' scales: one a lane

}  // namespace

ExpertsFewShape experts_few_shape(const ExpertsFewProblem& p) {
  const int32_t pairs = p.num_tokens * p.experts_per_token;
  const int32_t middle_tiles = (pairs + 1) / 2 * (p.columns / 128);
  const int32_t sums = std::max(2 * 2 * p.num_tokens * kFewPitch, pairs * kFewRows) * 4;
  ExpertsFewShape out;
  out.blocks = p.hidden / kFewRows;
  // Offsets behind the ring first.
  out.middle_scales_at = std::max(p.hidden / 128, middle_tiles) * kFewTileBytes;
  out.token_scales_at = out.middle_scales_at + middle_tiles * 8 * 4;
  out.sums_at = out.token_scales_at + p.hidden / 128 * kFewTokensMax * 4;
  out.tables_at = out.sums_at + sums;
  out.barriers_at = out.tables_at + kTableBytes;
  const int32_t rest = out.barriers_at + kBarrierBytes + kAlignment;
  out.stages = std::clamp((p.shared_bytes_max - rest) / kFewStageBytes, 0, kStagesMax);
  out.tokens_at = out.stages * kFewStageBytes;
  for (int32_t* const at : {&out.middle_scales_at, &out.token_scales_at, &out.sums_at,
                            &out.tables_at, &out.barriers_at}) {
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
  if (p.num_tokens < 1 || p.num_tokens > kFewTokensMax) return "experts_few: more than 4 tokens";
  if (p.num_tokens * p.experts_per_token > kFewPairsMax) {
    return "experts_few: more than 32 pairs of a token and an expert";
  }
  if (p.hidden % kFewColumns != 0 || p.columns % kFewColumns != 0 || p.hidden > kHiddenMax) {
    return "experts_few: a weight's rows are no multiples of 256 columns, or more than 8192";
  }
  if (p.columns > kFewColumnsMax) return "experts_few: an expert has more than 1024 columns";
  if (p.gate_up_rows_per_scale != 128 || p.down_rows_per_scale != 128) {
    return "experts_few: a scale is not of 128 rows";
  }
  const ExpertsFewShape shape = experts_few_shape(p);
  if (shape.blocks > p.num_sms) return "experts_few: the blocks do not run all at once";
  if (shape.stages < kFewStagesMin) return "experts_few: shared memory is too small";
  return nullptr;
}

bool experts_few_pays(int32_t num_tokens) { return num_tokens <= kFewTokensMax; }

}  // namespace mimo::kernels::cuda::product
