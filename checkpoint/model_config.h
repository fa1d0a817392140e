#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mimo::checkpoint {

enum class AttentionKind : uint8_t { kFull = 0, kWindow = 1 };  // as hybrid_layer_pattern spells it

// One kind of attention layer, whole model (all ranks).
struct AttentionShape {
  int32_t num_q_heads = 0;
  int32_t num_kv_heads = 0;  // divides num_q_heads
  int32_t k_dim = 0;         // width of a q or k head
  int32_t v_dim = 0;         // width of a v head
  int32_t rotary_dim = 0;    // the first so many of k_dim are rotated; even, at most k_dim
  double rope_theta = 0;
  int32_t window = 0;  // keys a query sees, itself included; 0 = all
  bool has_sinks = false;
};

// FP8 e4m3 weights with one f32 scale a block; absent when all weights are bf16.
struct QuantizationShape {
  int32_t block_rows = 128;
  int32_t block_cols = 128;
};

// What config.json says, checked. One value a model, passed around: nothing is global, so that two
// models of other widths live in one process.
struct ModelConfig {
  std::string architecture;  // "MiMoV2FlashForCausalLM"
  int32_t hidden = 0;
  int32_t vocab = 0;  // rows of embedding and head, padding included
  int32_t num_layers = 0;
  int32_t dense_intermediate = 0;
  int32_t moe_intermediate = 0;
  int32_t num_experts = 0;
  int32_t experts_per_token = 0;
  int32_t num_expert_groups = 1;  // n_group
  int32_t groups_per_token = 1;   // topk_group
  bool normalize_weights = true;  // norm_topk_prob
  float routed_scaling = 1.0f;    // routed_scaling_factor; null = 1
  float value_scale = 1.0f;       // attention_value_scale; null = 1
  float norm_eps = 1e-5f;         // layernorm_epsilon
  int32_t max_positions = 0;
  AttentionShape full;
  AttentionShape window;
  std::vector<AttentionKind> attention;  // [num_layers]
  std::vector<bool> is_moe;              // [num_layers]
  std::optional<QuantizationShape> quantization;
  std::vector<int32_t> eos_ids;  // config.json's and generation_config.json's; may be empty
  // Checkpoint::open counts them by the tensors' names; from config.json alone it is
  // num_nextn_predict_layers, which the released one lacks (0).
  int32_t num_mtp_layers = 0;

  const AttentionShape& attention_shape(AttentionKind kind) const {
    return kind == AttentionKind::kFull ? full : window;
  }
  int32_t num_layers_of(AttentionKind kind) const;
};

// Every field is used or refused: an unknown field, a value of the wrong type or one that this
// program does not compute is kInvalidArgument, and names field, value and what was expected.
// `source` opens each message, e.g. "/models/m/config.json".
Result<ModelConfig> parse_model_config(std::string_view json, const std::string& source);

// eos_token_id of a generation_config.json; its other fields are advice to clients and not read.
Result<std::vector<int32_t>> parse_generation_eos(std::string_view json, int32_t vocab,
                                                  const std::string& source);

// The released model's geometry, for planning without its files.
ModelConfig released_model_config();

}  // namespace mimo::checkpoint
