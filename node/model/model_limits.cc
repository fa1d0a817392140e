#include "node/model/model_limits.h"

#include <algorithm>
#include <string>

#include "grammar/token_rules.h"
#include "node/model/index_buffer.h"
#include "node/model/kv_layout.h"

namespace mimo::node {
namespace {

using checkpoint::AttentionKind;
using checkpoint::ModelConfig;

Result<void> require_between(const char* field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return invalid_argument(std::string(field) + " is " + std::to_string(value) + ", expected " +
                          std::to_string(low) + " to " + std::to_string(high));
}

// The widest of a quantity over the kinds of attention that the model has.
template <typename Width>
int32_t widest(const ModelConfig& config, Width width) {
  int32_t most = 0;
  for (const AttentionKind kind : {AttentionKind::kFull, AttentionKind::kWindow}) {
    if (config.num_layers_of(kind) > 0) most = std::max(most, width(kind));
  }
  return most;
}

// Of both groups' page tables together.
int64_t page_table_entries(const ModelConfig& config, const parallel::RankShard& shard,
                           const ModelLimits& limits) {
  int64_t entries = 0;
  for (const kvcache::KvSpec& spec :
       kv_specs(config, shard, limits.page_tokens, DType::kBf16, DType::kBf16)) {
    if (spec.num_layers == 0) continue;
    entries += int64_t{limits.sequences_max} * page_table_stride(spec, limits);
  }
  return entries;
}

}  // namespace

int32_t page_table_stride(const kvcache::KvSpec& spec, const ModelLimits& limits) {
  return pages_per_sequence(spec, limits.prefill_chunk_max, limits.positions_max);
}

Result<void> ModelLimits::validate(const ModelConfig& config) const {
  TRY(require_between("tokens_max", tokens_max, 1, 1 << 20));
  TRY(require_between("sequences_max", sequences_max, 1, tokens_max));
  TRY(require_between("logits_rows_max", logits_rows_max, 1, 1 << 20));
  TRY(require_between("prefill_chunk_max", prefill_chunk_max, 1, tokens_max));
  TRY(require_between("positions_max", positions_max, 1, config.max_positions));
  if (page_tokens != 16 && page_tokens != 32 && page_tokens != 64 && page_tokens != 128) {
    return invalid_argument("page_tokens is " + std::to_string(page_tokens) +
                            ", expected 16, 32, 64 or 128");
  }
  return {};
}

StepBufferSizes step_buffer_sizes(const ModelConfig& config, const parallel::ShardPlan& plan,
                                  const parallel::RankShard& shard, const ModelLimits& limits,
                                  DType activation, int32_t decode_rows_max) {
  const int64_t element = dtype_bytes(activation);
  const int64_t runs = std::max(limits.sequences_max, decode_rows_max);
  const int64_t rows = std::max<int64_t>(limits.tokens_max, runs);
  const int64_t logits_rows = limits.logits_rows_max;
  const int64_t q_cols = widest(config, [&](AttentionKind kind) {
    return shard.attention(kind).q_heads.size() * config.attention_shape(kind).k_dim;
  });
  const int64_t v_cols = widest(config, [&](AttentionKind kind) {
    return shard.attention(kind).q_heads.size() * config.attention_shape(kind).v_dim;
  });
  const int64_t pages = page_table_entries(config, shard, limits);
  StepBufferSizes sizes;
  sizes.hidden_rows = rows * config.hidden * element;
  if (activation == DType::kBf16) {
    const int64_t groups = (config.hidden + 127) / 128;
    sizes.normed_q = rows * (config.hidden + groups * int64_t{sizeof(float)});
  }
  sizes.q = rows * q_cols * element;
  sizes.attention = rows * v_cols * element;
  sizes.expert_ids = rows * std::max(config.experts_per_token, 1) * int64_t{sizeof(int32_t)};
  sizes.expert_weights = rows * std::max(config.experts_per_token, 1) * int64_t{sizeof(float)};
  sizes.logits_hidden = logits_rows * config.hidden * element;
  sizes.logits = plan.tp * logits_rows * plan.vocab_rows * int64_t{sizeof(float)};
  sizes.step_indices = IndexBuffer::bytes_for(
      {rows, rows, runs + 1, runs, runs, rows, rows, rows, rows, rows, pages, pages});
  sizes.page_tables = (pages + limits.sequences_max) * int64_t{sizeof(int32_t)};
  sizes.results =
      rows * static_cast<int64_t>(sizeof(kernels::DrawResult) +
                                  kernels::kTopLogprobsMax * sizeof(kernels::TokenLogprob));
  sizes.full_rows = kFullRows * int64_t{config.vocab} * int64_t{sizeof(float)};
  sizes.masks =
      int64_t{limits.sequences_max} * grammar::mask_words(config.vocab) * int64_t{sizeof(uint32_t)};
  return sizes;
}

kernels::StepLimits ops_limits(const ModelConfig& config, const parallel::ShardPlan& plan,
                               const parallel::RankShard& shard, const ModelLimits& limits,
                               int32_t decode_rows_max) {
  kernels::StepLimits out;
  out.runs_max = std::max(limits.sequences_max, decode_rows_max);
  out.tokens_max = std::max(limits.tokens_max, out.runs_max);
  out.logits_rows_max = limits.logits_rows_max;
  out.slots_max = limits.sequences_max;
  out.hidden = config.hidden;
  out.qkv_cols_max = widest(config, [&](AttentionKind kind) {
    const checkpoint::AttentionShape& shape = config.attention_shape(kind);
    const parallel::AttentionShard& heads = shard.attention(kind);
    return heads.q_heads.size() * shape.k_dim + heads.kv_heads.size() * (shape.k_dim + shape.v_dim);
  });
  out.attention_cols_max = widest(config, [&](AttentionKind kind) {
    return shard.attention(kind).q_heads.size() * config.attention_shape(kind).v_dim;
  });
  out.q_heads_max =
      widest(config, [&](AttentionKind kind) { return shard.attention(kind).q_heads.size(); });
  out.v_dim_max =
      widest(config, [&](AttentionKind kind) { return config.attention_shape(kind).v_dim; });
  const auto& moe = config.is_moe;
  const bool any_moe = std::find(moe.begin(), moe.end(), true) != moe.end();
  const bool any_dense = std::find(moe.begin(), moe.end(), false) != moe.end();
  out.dense_cols_max = any_dense ? shard.dense_cols.size() : 0;
  out.expert_cols_max = any_moe ? shard.expert_cols.size() : 0;
  out.num_experts = config.num_experts;
  out.num_local_experts = shard.experts.size();
  out.experts_per_token = config.experts_per_token;
  out.vocab_padded = plan.tp * plan.vocab_rows;
  return out;
}

}  // namespace mimo::node
