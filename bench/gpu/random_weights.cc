#include "bench/gpu/random_weights.h"

#include <vector>

namespace mimo::bench {
namespace {

using kernels::Linear;

class Maker {
 public:
  Maker(const checkpoint::ModelConfig& config, const parallel::RankShard& shard,
        kernels::cuda::CudaOps& ops)
      : config_(config), shard_(shard), ops_(ops) {}

  Result<node::ModelWeights> make() {
    node::ModelWeights out;
    out.layers.resize(static_cast<size_t>(config_.num_layers));
    TRY_ASSIGN(out.embedding, linear(DType::kBf16, shard_.vocab_rows.size(), config_.hidden));
    for (int32_t layer = 0; layer < config_.num_layers; ++layer) {
      TRY(make_layer(layer, out.layers[static_cast<size_t>(layer)]));
    }
    TRY_ASSIGN(out.head, linear(DType::kBf16, shard_.vocab_rows.size(), config_.hidden));
    TRY_ASSIGN(out.final_norm, ones());
    out.loaded_bytes = ops_.bytes_by_purpose()[static_cast<size_t>(kernels::Purpose::kWeights)];
    return out;
  }

 private:
  Result<Linear> linear(DType dtype, int64_t rows, int64_t cols, int32_t rows_per_scale = 128) {
    return ops_.random_linear(dtype, rows, cols, rows_per_scale, ++seed_);
  }
  Result<const float*> ones() {
    const std::vector<float> values(static_cast<size_t>(config_.hidden), 1.0f);
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(float));
    TRY_ASSIGN(void* const memory, ops_.allocate(bytes, kernels::Purpose::kWeights));
    ops_.upload(memory, values.data(), bytes);
    return static_cast<const float*>(memory);
  }
  Result<const float*> floats(int64_t count, float deviation) {
    TRY_ASSIGN(float* const values, ops_.random_floats(count, deviation, ++seed_));
    return static_cast<const float*>(values);
  }

  Result<void> make_layer(int32_t layer, node::LayerWeights& w) {
    const checkpoint::AttentionKind kind = config_.attention[static_cast<size_t>(layer)];
    const checkpoint::AttentionShape& shape = config_.attention_shape(kind);
    const parallel::AttentionShard& heads = shard_.attention(kind);
    const int64_t qkv_rows = int64_t{heads.q_heads.size()} * shape.k_dim +
                             int64_t{heads.kv_heads.size()} * (shape.k_dim + shape.v_dim);
    TRY_ASSIGN(w.input_norm, ones());
    TRY_ASSIGN(w.ffn_norm, ones());
    TRY_ASSIGN(w.qkv, linear(DType::kF8E4m3, qkv_rows, config_.hidden, 64));
    TRY_ASSIGN(w.o_proj,
               linear(DType::kBf16, config_.hidden, int64_t{heads.q_heads.size()} * shape.v_dim));
    if (shape.has_sinks) {
      TRY_ASSIGN(w.sinks, floats(heads.q_heads.size(), 1.0f));
    }
    if (config_.is_moe[static_cast<size_t>(layer)]) return make_experts(w);
    TRY_ASSIGN(w.gate_up,
               linear(DType::kF8E4m3, 2 * int64_t{shard_.dense_cols.size()}, config_.hidden));
    TRY_ASSIGN(w.down, linear(DType::kF8E4m3, config_.hidden, shard_.dense_cols.size()));
    return {};
  }

  Result<void> make_experts(node::LayerWeights& w) {
    TRY_ASSIGN(w.router, floats(int64_t{config_.num_experts} * config_.hidden, 0.016f));
    TRY_ASSIGN(w.router_bias, floats(config_.num_experts, 1e-3f));
    const int64_t cols = shard_.expert_cols.size();
    w.experts.first = shard_.experts.begin;
    TRY_ASSIGN(w.experts.gate_up,
               ops_.random_stack({shard_.experts.size(), DType::kF8E4m3, 2 * cols, config_.hidden},
                                 ++seed_));
    TRY_ASSIGN(
        w.experts.down,
        ops_.random_stack({shard_.experts.size(), DType::kF8E4m3, config_.hidden, cols}, ++seed_));
    return {};
  }

  const checkpoint::ModelConfig& config_;
  const parallel::RankShard& shard_;
  kernels::cuda::CudaOps& ops_;
  uint64_t seed_ = 1;
};

}  // namespace

Result<node::ModelWeights> random_weights(const checkpoint::ModelConfig& config,
                                          const parallel::RankShard& shard,
                                          kernels::cuda::CudaOps& ops) {
  return Maker(config, shard, ops).make();
}

}  // namespace mimo::bench
