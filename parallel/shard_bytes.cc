#include "parallel/shard_bytes.h"

namespace mimo::parallel {
namespace {

using checkpoint::AttentionShape;
using checkpoint::ModelConfig;

constexpr int64_t kBlock = 128;
constexpr int64_t kBf16 = 2;
constexpr int64_t kF32 = 4;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A matrix [rows, cols] with a scale for `rows_per_scale` rows and 128 columns when it is FP8.
int64_t matrix_bytes(bool fp8, int64_t rows, int64_t cols, int64_t rows_per_scale) {
  if (!fp8) return rows * cols * kBf16;
  return rows * cols + ceil_div(rows, rows_per_scale) * ceil_div(cols, kBlock) * kF32;
}

// gate and up fused, and down, of `cols` of the intermediate columns.
int64_t ffn_bytes(bool fp8, int64_t hidden, Range cols) {
  const int64_t rows_per_scale = gate_up_rows_per_scale(cols);
  return matrix_bytes(fp8, 2 * int64_t{cols.size()}, hidden, rows_per_scale) +
         matrix_bytes(fp8, hidden, cols.size(), kBlock);
}

int64_t qkv_bytes(bool fp8, int64_t hidden, const AttentionShape& shape,
                  const AttentionShard& shard) {
  const int64_t rows = int64_t{shard.q_heads.size()} * shape.k_dim +
                       int64_t{shard.kv_heads.size()} * (shape.k_dim + shape.v_dim);
  return matrix_bytes(fp8, rows, hidden, qkv_rows_per_scale(shape));
}

int64_t o_proj_bytes(int64_t hidden, const AttentionShape& shape, const AttentionShard& shard) {
  return hidden * shard.q_heads.size() * shape.v_dim * kBf16;
}

int64_t sink_bytes(const AttentionShape& shape, const AttentionShard& shard) {
  return shape.has_sinks ? shard.q_heads.size() * kF32 : 0;
}

int64_t mtp_layer_bytes(const ModelConfig& config, const RankShard& shard) {
  constexpr int64_t kNorms = 5;  // enorm, hnorm, input, pre-FFN, final
  const bool fp8 = config.quantization.has_value();
  const int64_t hidden = config.hidden;
  const int64_t eh_proj = hidden * 2 * hidden * kBf16;
  return eh_proj + qkv_bytes(fp8, hidden, config.window, shard.window) +
         o_proj_bytes(hidden, config.window, shard.window) +
         ffn_bytes(fp8, hidden, shard.dense_cols) + kNorms * hidden * kF32 +
         sink_bytes(config.window, shard.window);
}

}  // namespace

RankBytes rank_bytes(const ModelConfig& config, const ShardPlan& plan, int32_t rank) {
  const RankShard shard = rank_shard(config, plan, rank);
  const bool fp8 = config.quantization.has_value();
  const int64_t hidden = config.hidden;
  RankBytes bytes;
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    const AttentionShape& shape = config.attention_shape(config.attention[layer]);
    const AttentionShard& heads = shard.attention(config.attention[layer]);
    bytes.qkv += qkv_bytes(fp8, hidden, shape, heads);
    bytes.o_proj += o_proj_bytes(hidden, shape, heads);
    bytes.norms_and_sinks += 2 * hidden * kF32 + sink_bytes(shape, heads);
    if (config.is_moe[layer]) {
      bytes.routers += config.num_experts * (hidden + 1) * kF32;
      bytes.experts += shard.experts.size() * ffn_bytes(fp8, hidden, shard.expert_cols);
    } else {
      bytes.dense_ffn += ffn_bytes(fp8, hidden, shard.dense_cols);
    }
  }
  bytes.norms_and_sinks += hidden * kF32;
  bytes.embedding = shard.vocab_rows.size() * hidden * kBf16;
  bytes.head = bytes.embedding;
  bytes.mtp = config.num_mtp_layers * mtp_layer_bytes(config, shard);
  return bytes;
}

}  // namespace mimo::parallel
