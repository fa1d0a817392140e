#include "parallel/shard.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace mimo::parallel {
namespace {

using checkpoint::AttentionShape;
using checkpoint::ModelConfig;

constexpr int32_t kBlock = 128;
constexpr int32_t kTpMax = 4096;

std::string text(int32_t value) { return std::to_string(value); }

// How a width can be cut into tp equal parts.
enum class Cut : uint8_t { kEven, kUneven, kSplitsBlocks };

Cut cut_of(const ModelConfig& config, int32_t width, int32_t tp) {
  if (width % tp != 0) return Cut::kUneven;
  const bool whole = tp == 1 || !config.quantization || width / tp % kBlock == 0;
  return whole ? Cut::kEven : Cut::kSplitsBlocks;
}

// "2048 (moe_intermediate_size) columns over 32 ranks are 64 each, not whole 128-blocks of FP8".
std::string why_not(const ModelConfig& config, const char* field, int32_t width, int32_t tp) {
  const std::string over =
      text(width) + " (" + field + ") columns over " + text(tp) + " ranks are ";
  if (cut_of(config, width, tp) == Cut::kUneven) return over + "not whole columns";
  return over + text(width / tp) + " each, not whole " + text(kBlock) + "-blocks of FP8";
}

// How many ranks hold the same kv head.
Result<int32_t> plan_heads(const char* kind, const AttentionShape& shape, int32_t tp) {
  const std::string of_kind = std::string(" of ") + kind + " attention";
  if (shape.num_q_heads % tp != 0) {
    return invalid_argument("tp = " + text(tp) + " does not divide the " + text(shape.num_q_heads) +
                            " query heads" + of_kind);
  }
  if (shape.num_kv_heads % tp == 0) return 1;
  if (tp % shape.num_kv_heads == 0) return tp / shape.num_kv_heads;
  return invalid_argument("tp = " + text(tp) + " neither divides nor is a multiple of the " +
                          text(shape.num_kv_heads) + " kv heads" + of_kind);
}

Result<ExpertPlacement> plan_experts(const ModelConfig& config, const ShardOptions& options,
                                     std::vector<std::string>& notes) {
  constexpr const char* kField = "moe_intermediate_size";
  const int32_t tp = options.tp;
  const bool even = cut_of(config, config.moe_intermediate, tp) == Cut::kEven;
  if (options.experts == ExpertPlacement::kColumns && !even) {
    return invalid_argument("experts by columns: " +
                            why_not(config, kField, config.moe_intermediate, tp));
  }
  const auto placement =
      options.experts.value_or(even ? ExpertPlacement::kColumns : ExpertPlacement::kWhole);
  if (placement == ExpertPlacement::kColumns || tp == 1) return placement;
  if (!options.experts) {
    notes.push_back(
        "Experts are placed whole: " + why_not(config, kField, config.moe_intermediate, tp) + ".");
  }
  const int32_t most = (config.num_experts + tp - 1) / tp;
  if (config.num_experts % tp != 0) {
    notes.push_back(text(config.num_experts) + " whole experts over " + text(tp) +
                    " ranks: some ranks hold " + text(most) + ", others " + text(most - 1) + ".");
  }
  return placement;
}

void note_replicas(const char* kind, const AttentionShape& shape, int32_t replicas,
                   std::vector<std::string>& notes) {
  if (replicas == 1) return;
  notes.push_back("Each of the " + text(shape.num_kv_heads) + " kv heads of " + kind +
                  " attention is held by " + text(replicas) + " ranks.");
}

AttentionShard attention_shard(const AttentionShape& shape, int32_t replicas, int32_t tp,
                               int32_t rank) {
  const int32_t q_heads = shape.num_q_heads / tp;
  const int32_t kv_heads = std::max(1, shape.num_kv_heads / tp);
  const int32_t first = replicas > 1 ? rank / replicas : rank * kv_heads;
  return {{rank * q_heads, (rank + 1) * q_heads}, {first, first + kv_heads}};
}

// Part `rank` of [0, size) in tp parts as even as possible, the larger ones first.
Range even_part(int32_t size, int32_t tp, int32_t rank) {
  const int32_t small = size / tp;
  const int32_t num_large = size % tp;
  const int32_t begin = rank * small + std::min(rank, num_large);
  return {begin, begin + small + (rank < num_large ? 1 : 0)};
}

// Appends row `row` of scales, [*, num_cols].
void append_row(std::vector<float>& out, std::span<const float> scales, int32_t row,
                int32_t num_cols) {
  const size_t begin = static_cast<size_t>(row) * num_cols;
  CHECK_LE(begin + num_cols, scales.size());
  out.insert(out.end(), scales.begin() + begin, scales.begin() + begin + num_cols);
}

}  // namespace

Result<ShardPlan> plan_shards(const ModelConfig& config, const ShardOptions& options) {
  const int32_t tp = options.tp;
  if (tp < 1 || tp > kTpMax) {
    return invalid_argument("tp = " + text(tp) + ", expected 1 to " + text(kTpMax));
  }
  ShardPlan plan;
  plan.tp = tp;
  TRY_ASSIGN(plan.full_kv_replicas, plan_heads("full", config.full, tp));
  TRY_ASSIGN(plan.window_kv_replicas, plan_heads("window", config.window, tp));
  note_replicas("full", config.full, plan.full_kv_replicas, plan.notes);
  note_replicas("window", config.window, plan.window_kv_replicas, plan.notes);
  TRY_ASSIGN(plan.experts, plan_experts(config, options, plan.notes));
  plan.dense_replicated = cut_of(config, config.dense_intermediate, tp) != Cut::kEven;
  if (plan.dense_replicated) {
    plan.notes.push_back("Every rank holds the whole dense FFN: " +
                         why_not(config, "intermediate_size", config.dense_intermediate, tp) + ".");
  }
  plan.vocab_rows = (config.vocab + tp - 1) / tp;
  if (config.vocab % tp != 0) {
    plan.notes.push_back("The vocabulary's " + text(config.vocab) + " rows are padded to " +
                         text(plan.vocab_rows * tp) + ".");
  }
  return plan;
}

RankShard rank_shard(const ModelConfig& config, const ShardPlan& plan, int32_t rank) {
  CHECK(rank >= 0 && rank < plan.tp);
  CHECK_EQ(config.full.num_q_heads % plan.tp, 0);
  CHECK_EQ(config.window.num_q_heads % plan.tp, 0);
  const int32_t tp = plan.tp;
  const bool columns = plan.experts == ExpertPlacement::kColumns;
  const Range all_experts{0, config.num_experts};
  const Range all_cols{0, config.moe_intermediate};
  const Range all_dense{0, config.dense_intermediate};
  RankShard shard;
  shard.rank = rank;
  shard.full = attention_shard(config.full, plan.full_kv_replicas, tp, rank);
  shard.window = attention_shard(config.window, plan.window_kv_replicas, tp, rank);
  shard.experts = columns ? all_experts : even_part(config.num_experts, tp, rank);
  shard.expert_cols = columns ? even_part(config.moe_intermediate, tp, rank) : all_cols;
  shard.dense_cols =
      plan.dense_replicated ? all_dense : even_part(config.dense_intermediate, tp, rank);
  shard.vocab_rows = {rank * plan.vocab_rows, (rank + 1) * plan.vocab_rows};
  return shard;
}

int32_t qkv_rows_per_scale(const AttentionShape& shape) {
  return std::gcd(64, std::gcd(shape.k_dim, shape.v_dim));
}

ExpandedScales expand_qkv_scales(const AttentionShape& shape, KvScaleRule rule,
                                 const QkvScales& scales, const AttentionShard& shard) {
  ExpandedScales out;
  out.rows_per_scale = qkv_rows_per_scale(shape);
  out.num_cols = scales.num_cols;
  const int32_t step = out.rows_per_scale;
  const auto append = [&](const ScaleRowRef& ref) {
    append_row(out.values, ref.from_v ? scales.v : scales.k, ref.row, scales.num_cols);
  };
  const int32_t k_dim = shape.k_dim;
  const int32_t v_dim = shape.v_dim;
  for (int32_t r = shard.q_heads.begin * k_dim; r < shard.q_heads.end * k_dim; r += step) {
    append_row(out.values, scales.q, r / kBlock, scales.num_cols);
  }
  for (int32_t r = shard.kv_heads.begin * k_dim; r < shard.kv_heads.end * k_dim; r += step) {
    append(checkpoint::k_scale_row(rule, shape, r));
  }
  for (int32_t r = shard.kv_heads.begin * v_dim; r < shard.kv_heads.end * v_dim; r += step) {
    append(checkpoint::v_scale_row(rule, shape, r));
  }
  return out;
}

int32_t gate_up_rows_per_scale(Range cols) {
  // In [gate | up] up begins at row cols.size(); in the tensors blocks begin at multiples of 128.
  return std::gcd(kBlock, std::gcd(cols.begin, cols.size()));
}

ExpandedScales expand_gate_up_scales(std::span<const float> gate, std::span<const float> up,
                                     int32_t num_cols, Range cols) {
  ExpandedScales out;
  out.rows_per_scale = gate_up_rows_per_scale(cols);
  out.num_cols = num_cols;
  for (const std::span<const float> scales : {gate, up}) {
    for (int32_t r = cols.begin; r < cols.end; r += out.rows_per_scale) {
      append_row(out.values, scales, r / kBlock, num_cols);
    }
  }
  return out;
}

}  // namespace mimo::parallel
