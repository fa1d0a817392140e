#include "kernels/cuda/attention/attention_plan.h"

#include <algorithm>

#include "kernels/cuda/attention/attention_args.h"

namespace mimo::kernels::cuda {
namespace {

// A window of so many keys is short.
constexpr int32_t kShortWindow = 4 * kKeyBlock;

int32_t ceil_div(int64_t a, int64_t b) { return static_cast<int32_t>((a + b - 1) / b); }

}  // namespace

DecodePlan plan_decode(const AttentionParams& p, int32_t num_sms, const DecodeTuning& tuning) {
  DecodePlan plan;
  const int32_t group = p.num_q_heads / p.kv.kv_heads;
  const int32_t rows = std::min(p.runs.rows_per_run_max, kDecodeRowsMax);
  plan.tiles = ceil_div(int64_t{rows} * group, kDecodeTileRows);
  plan.units = p.runs.num_runs * plan.tiles * p.kv.kv_heads;
  plan.deep_ring = tuning.deep_ring && (p.window == 0 || p.window > kShortWindow);
  plan.runs_a_launch = p.runs.num_runs;
  if (plan.units == 0) return plan;
  int64_t keys_max = int64_t{p.kv.stride} * p.kv.page_tokens;
  const int32_t rows_seen = tuning.batch_invariant ? kDecodeRowsMax : rows;
  if (p.window > 0) keys_max = std::min<int64_t>(keys_max, p.window + rows_seen - 1);
  if (tuning.batch_invariant) {
    const int64_t splits = ceil_div(keys_max, kInvariantSplitKeys);
    plan.splits_max = static_cast<int32_t>(std::min<int64_t>(splits, kInvariantSplits));
    plan.split_min = kInvariantSplitKeys / kKeyBlock;
    plan.deep_ring = int64_t{plan.units} * plan.splits_max <= num_sms;
    const int32_t partials_a_run = plan.tiles * p.kv.kv_heads * plan.splits_max;
    if (plan.splits_max > 1) {
      plan.runs_a_launch = static_cast<int32_t>(
          std::max<int64_t>(1, decode_partials_max(num_sms, tuning) / partials_a_run));
    }
    return plan;
  }
  const int64_t by_keys = keys_max / (2 * kSplitKeysMin);
  const int64_t by_blocks = tuning.blocks_per_sm * num_sms / plan.units;
  plan.splits_max =
      static_cast<int32_t>(std::clamp<int64_t>(std::min(by_keys, by_blocks), 1, kSplitsMax));
  return plan;
}

StreamPlan plan_stream(const AttentionParams& p, int32_t num_sms, const DecodeTuning& tuning) {
  StreamPlan plan;
  const int32_t group = p.num_q_heads / p.kv.kv_heads;
  const int32_t rows = std::min(p.runs.rows_per_run_max, kDecodeRowsMax);
  plan.tiles = ceil_div(int64_t{rows} * group, kDecodeTileRows);
  plan.whole_units = p.window > 0 && p.window <= kShortWindow;
  plan.unit_cost = plan.whole_units ? 0 : tuning.unit_cost;
  plan.share_min = plan.whole_units ? 1 : tuning.share_min;
  plan.box_rows = box_rows_of(p);
  int64_t weight = int64_t{p.runs.num_runs} * plan.tiles * p.kv.kv_heads;
  if (!plan.whole_units) {
    weight *= ceil_div(int64_t{p.kv.stride} * p.kv.page_tokens, kKeyBlock) + 1 + plan.unit_cost;
  }
  plan.blocks = static_cast<int32_t>(std::min<int64_t>(num_sms, weight));
  return plan;
}

const char* measured_wish(const AttentionParams& p, int32_t capability) {
  const bool fits = capability == 90 && p.kv.k_dim <= 192 && p.kv.v_dim <= 128;
  if (!fits || p.window > 0) return "mma_sync";
  return p.runs.rows_per_run_max > kDecodeRowsMax ? "wgmma_sm90" : "tma";
}

bool takes_window(const AttentionParams& p) {
  const int32_t rows = std::min(p.runs.rows_per_run_max, kDecodeRowsMax);
  return p.window > 0 && p.window + rows - 1 <= kWindowKeysMax;
}

WindowPlan plan_window(const AttentionParams& p, int32_t num_sms, bool batch_invariant) {
  const int32_t rows = std::min(p.runs.rows_per_run_max, kDecodeRowsMax);
  const int32_t packed = rows * (p.num_q_heads / p.kv.kv_heads);
  WindowPlan plan;
  plan.tiles = ceil_div(packed, kDecodeTileRows);
  plan.row_tiles = packed <= 16 ? 1 : packed <= 32 ? 2 : 4;
  plan.one_chain = batch_invariant;
  plan.blocks = p.runs.num_runs * plan.tiles * p.kv.kv_heads;
  if (plan.row_tiles <= 2) plan.blocks = std::min(plan.blocks, 2 * num_sms);
  return plan;
}

int32_t box_rows_of(const AttentionParams& p) {
  return std::min(p.kv.page_tokens, p.window > 0 ? 16 : kKeyBlock);
}

int64_t decode_partials_max(int32_t num_sms, const DecodeTuning& tuning) {
  if (tuning.batch_invariant) return int64_t{kInvariantSplits} * num_sms;
  return int64_t{tuning.blocks_per_sm} * num_sms;
}

int64_t stream_parts_max(int32_t num_sms) { return int64_t{2} * num_sms; }

int32_t prompt_tiles_max(const AttentionParams& p) {
  const int64_t group = p.num_q_heads / p.kv.kv_heads;
  // Each run that the kernel takes has more than kDecodeRowsMax rows and at most one part tile.
  const int64_t runs = std::min<int64_t>(p.runs.num_runs, p.runs.num_tokens / (kDecodeRowsMax + 1));
  return static_cast<int32_t>(p.runs.num_tokens * group / kPromptTileRows + runs);
}

}  // namespace mimo::kernels::cuda
