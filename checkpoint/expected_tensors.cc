#include "checkpoint/expected_tensors.h"

#include <utility>

namespace mimo::checkpoint {
namespace {

constexpr int64_t kBlock = 128;

int64_t num_blocks(int64_t size) { return (size + kBlock - 1) / kBlock; }

// Calls `visit` until it says false, then no more.
class Visitor {
 public:
  using Visit = std::function<bool(std::string, TensorSpec)>;
  explicit Visitor(const Visit& visit) : visit_(visit) {}

  void tensor(std::string name, TensorSpec spec) {
    more_ = more_ && visit_(std::move(name), std::move(spec));
  }
  void bf16(std::string name, std::vector<int64_t> shape) {
    tensor(std::move(name), {{DType::kBf16}, std::move(shape)});
  }
  void f32(std::string name, std::vector<int64_t> shape) {
    tensor(std::move(name), {{DType::kF32}, std::move(shape)});
  }
  // A projection [rows, cols], with `scale_rows` rows of scales when it is FP8.
  void projection(const std::string& name, bool fp8, int64_t rows, int64_t cols,
                  int64_t scale_rows) {
    tensor(name + ".weight", {{fp8 ? DType::kF8E4m3 : DType::kBf16}, {rows, cols}});
    if (fp8) f32(name + ".weight_scale_inv", {scale_rows, num_blocks(cols)});
  }
  bool more() const { return more_; }

 private:
  const Visit& visit_;
  bool more_ = true;
};

void visit_attention(Visitor& visitor, const std::string& prefix, const AttentionShape& shape,
                     const LayerForm& form, int64_t hidden) {
  const std::string self = prefix + "self_attn.";
  const int64_t q_rows = int64_t{shape.num_q_heads} * shape.k_dim;
  const int64_t kv_heads = shape.num_kv_heads;
  const KvScaleRows scales = kv_scale_rows(form.kv_rule, shape);
  visitor.projection(self + "q_proj", form.qkv_fp8, q_rows, hidden, num_blocks(q_rows));
  visitor.projection(self + "k_proj", form.qkv_fp8, kv_heads * shape.k_dim, hidden, scales.k);
  visitor.projection(self + "v_proj", form.qkv_fp8, kv_heads * shape.v_dim, hidden, scales.v);
  visitor.bf16(self + "o_proj.weight", {hidden, int64_t{shape.num_q_heads} * shape.v_dim});
  if (shape.has_sinks) {
    visitor.tensor(self + "attention_sink_bias",
                   {{DType::kBf16, DType::kF32}, {shape.num_q_heads}});
  }
}

void visit_ffn(Visitor& visitor, const std::string& prefix, bool fp8, int64_t intermediate,
               int64_t hidden) {
  for (const char* name : {"gate_proj", "up_proj"}) {
    visitor.projection(prefix + name, fp8, intermediate, hidden, num_blocks(intermediate));
  }
  visitor.projection(prefix + "down_proj", fp8, hidden, intermediate, num_blocks(hidden));
}

void visit_layer(Visitor& visitor, const ModelConfig& config, const LayerForm& form,
                 int32_t layer) {
  const std::string prefix = layer_prefix(layer);
  const int64_t hidden = config.hidden;
  visitor.bf16(prefix + "input_layernorm.weight", {hidden});
  visitor.bf16(prefix + "post_attention_layernorm.weight", {hidden});
  visit_attention(visitor, prefix, config.attention_shape(config.attention[layer]), form, hidden);
  if (!config.is_moe[layer]) {
    visit_ffn(visitor, prefix + "mlp.", form.ffn_fp8, config.dense_intermediate, hidden);
    return;
  }
  visitor.f32(prefix + "mlp.gate.weight", {config.num_experts, hidden});
  visitor.f32(prefix + "mlp.gate.e_score_correction_bias", {config.num_experts});
  for (int32_t expert = 0; expert < config.num_experts && visitor.more(); ++expert) {
    visit_ffn(visitor, prefix + "mlp.experts." + std::to_string(expert) + ".", form.ffn_fp8,
              config.moe_intermediate, hidden);
  }
}

void visit_mtp_layer(Visitor& visitor, const ModelConfig& config, const LayerForm& form,
                     int32_t layer) {
  const std::string prefix = mtp_prefix(layer);
  const int64_t hidden = config.hidden;
  for (const char* name :
       {"enorm", "hnorm", "input_layernorm", "pre_mlp_layernorm", "final_layernorm"}) {
    visitor.bf16(prefix + name + ".weight", {hidden});
  }
  visitor.bf16(prefix + "eh_proj.weight", {hidden, 2 * hidden});
  visit_attention(visitor, prefix, config.window, form, hidden);
  visit_ffn(visitor, prefix + "mlp.", form.ffn_fp8, config.dense_intermediate, hidden);
}

}  // namespace

std::string layer_prefix(int32_t layer) { return "model.layers." + std::to_string(layer) + "."; }
std::string mtp_prefix(int32_t layer) { return "model.mtp.layers." + std::to_string(layer) + "."; }

CheckpointForm released_form(const ModelConfig& config) {
  const bool fp8 = config.quantization.has_value();
  const LayerForm window{fp8, fp8, KvScaleRule::kPlain};
  const LayerForm full{fp8, fp8, fp8 ? KvScaleRule::kJointPerHead : KvScaleRule::kPlain};
  CheckpointForm form;
  for (const AttentionKind kind : config.attention) {
    form.layers.push_back(kind == AttentionKind::kFull ? full : window);
  }
  form.mtp.assign(config.num_mtp_layers, window);
  return form;
}

bool visit_expected_tensors(const ModelConfig& config, const CheckpointForm& form,
                            const std::function<bool(std::string, TensorSpec)>& visit) {
  Visitor visitor(visit);
  const int64_t hidden = config.hidden;
  visitor.bf16("model.embed_tokens.weight", {config.vocab, hidden});
  for (int32_t layer = 0; layer < config.num_layers && visitor.more(); ++layer) {
    visit_layer(visitor, config, form.layers[layer], layer);
  }
  visitor.bf16("model.norm.weight", {hidden});
  visitor.bf16("lm_head.weight", {config.vocab, hidden});
  for (int32_t layer = 0; layer < config.num_mtp_layers && visitor.more(); ++layer) {
    visit_mtp_layer(visitor, config, form.mtp[layer], layer);
  }
  return visitor.more();
}

std::map<std::string, TensorSpec> expected_tensors(const ModelConfig& config,
                                                   const CheckpointForm& form) {
  std::map<std::string, TensorSpec> out;
  visit_expected_tensors(config, form, [&](std::string name, TensorSpec spec) {
    out.emplace(std::move(name), std::move(spec));
    return true;
  });
  return out;
}

int64_t expected_bytes(const ModelConfig& config, const CheckpointForm& form) {
  int64_t sum = 0;
  visit_expected_tensors(config, form, [&](const std::string&, const TensorSpec& spec) {
    int64_t bytes = dtype_bytes(spec.dtypes.front());
    for (const int64_t dim : spec.shape) bytes *= dim;
    sum += bytes;
    return true;
  });
  return sum;
}

}  // namespace mimo::checkpoint
