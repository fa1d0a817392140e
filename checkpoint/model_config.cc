#include "checkpoint/model_config.h"

#include <algorithm>
#include <utility>

#include "checkpoint/config_fields.h"
#include "checkpoint/strict_json.h"

namespace mimo::checkpoint {
namespace {

// Far above any model of this family, and low enough that no product of them overflows: heads times
// width stays in 32 bits, all tensors' bytes in 63.
constexpr int32_t kLayersMax = 1024;
constexpr int32_t kHiddenMax = 1 << 18;
constexpr int32_t kVocabMax = 1 << 24;
constexpr int32_t kIntermediateMax = 1 << 20;
constexpr int32_t kHeadsMax = 4096;
constexpr int32_t kHeadWidthMax = 4096;
constexpr int32_t kExpertsMax = 4096;
constexpr int32_t kPositionsMax = 1 << 28;
constexpr int32_t kMtpLayersMax = 64;

constexpr const char* kArchitecture = "MiMoV2FlashForCausalLM";

// How one kind of attention layer spells its fields.
struct AttentionNames {
  const char* q_heads;
  const char* kv_heads;
  const char* k_dim;
  const char* v_dim;
  const char* theta;
  const char* sinks;
};
constexpr AttentionNames kFullNames{
    "num_attention_heads", "num_key_value_heads", "head_dim",
    "v_head_dim",          "rope_theta",          "add_full_attention_sink_bias"};
constexpr AttentionNames kWindowNames{
    "swa_num_attention_heads", "swa_num_key_value_heads", "swa_head_dim",
    "swa_v_head_dim",          "swa_rope_theta",          "add_swa_attention_sink_bias"};

AttentionShape read_attention(ConfigFields& fields, const AttentionNames& names,
                              double rotary_factor) {
  AttentionShape shape;
  shape.num_q_heads = fields.integer(names.q_heads, 1, kHeadsMax);
  shape.num_kv_heads = fields.integer(names.kv_heads, 1, kHeadsMax);
  shape.k_dim = fields.integer(names.k_dim, 2, kHeadWidthMax);
  shape.v_dim = fields.integer(names.v_dim, 1, kHeadWidthMax);
  shape.rope_theta = fields.number(names.theta, 1.0, 1e15);
  shape.has_sinks = fields.flag_or(names.sinks, false);
  shape.rotary_dim = static_cast<int32_t>(shape.k_dim * rotary_factor);
  if (shape.num_q_heads % shape.num_kv_heads != 0) {
    fields.refuse(names.kv_heads, std::to_string(shape.num_kv_heads) + " does not divide " +
                                      names.q_heads + " = " + std::to_string(shape.num_q_heads));
  }
  if (shape.rotary_dim < 2 || shape.rotary_dim % 2 != 0) {
    fields.refuse("partial_rotary_factor", "rotates " + std::to_string(shape.rotary_dim) + " of " +
                                               names.k_dim + " = " + std::to_string(shape.k_dim) +
                                               " columns, expected an even number of at least 2");
  }
  return shape;
}

int32_t read_window(ConfigFields& fields) {
  const int32_t window = fields.integer("sliding_window", 1, kPositionsMax);
  for (const char* name : {"sliding_window_size", "attention_chunk_size"}) {
    const int32_t other = fields.integer_or(name, window, 1, kPositionsMax);
    if (other != window) {
      fields.refuse(name, "found " + std::to_string(other) + ", expected sliding_window's " +
                              std::to_string(window));
    }
  }
  return window;
}

void read_attention_layers(ConfigFields& fields, ModelConfig& config) {
  const double rotary_factor = fields.number("partial_rotary_factor", 0.0, 1.0);
  config.full = read_attention(fields, kFullNames, rotary_factor);
  config.window = read_attention(fields, kWindowNames, rotary_factor);
  config.window.window = read_window(fields);
  config.value_scale =
      static_cast<float>(fields.number_or("attention_value_scale", 1.0, 1e-6, 1e6));
  for (const bool window : fields.bits("hybrid_layer_pattern", config.num_layers)) {
    config.attention.push_back(window ? AttentionKind::kWindow : AttentionKind::kFull);
  }
  fields.only("attention_bias", false);
  fields.only("attention_dropout", 0.0);
  fields.only_null("hybrid_block_size");
  const nlohmann::json* layout = fields.take("attention_projection_layout");
  if (layout != nullptr && *layout != "split") {
    fields.refuse("attention_projection_layout",
                  "found " + cite(*layout) +
                      ", expected 'split' or no such field: q, k and v in tensors of their own, "
                      "not the fused projections of MiMo-V2.5");
  }
  const nlohmann::json* scaling = fields.take("rope_scaling");
  const bool plain = scaling == nullptr || *scaling == nlohmann::json{{"rope_type", "default"}} ||
                     *scaling == nlohmann::json{{"type", "default"}};
  if (!plain) {
    fields.refuse("rope_scaling", "found " + cite(*scaling) + ", expected null: plain rotary");
  }
}

void check_expert_groups(ConfigFields& fields, const ModelConfig& config) {
  const int32_t groups = config.num_expert_groups;
  if (config.num_experts % groups != 0) {
    fields.refuse("n_group", std::to_string(groups) + " does not divide n_routed_experts = " +
                                 std::to_string(config.num_experts));
    return;
  }
  const int32_t group_size = config.num_experts / groups;
  if (groups > 1 && group_size < 2) {
    fields.refuse("n_group", std::to_string(groups) + " groups of " + std::to_string(group_size) +
                                 " experts; a group is judged by its two best");
  }
  if (config.experts_per_token > group_size * config.groups_per_token) {
    fields.refuse("num_experts_per_tok",
                  std::to_string(config.experts_per_token) + ", more than the " +
                      std::to_string(group_size * config.groups_per_token) + " experts of " +
                      std::to_string(config.groups_per_token) + " (topk_group) groups");
  }
}

void read_experts(ConfigFields& fields, ModelConfig& config) {
  config.is_moe = fields.bits("moe_layer_freq", config.num_layers);
  config.moe_intermediate = fields.integer("moe_intermediate_size", 1, kIntermediateMax);
  config.num_experts = fields.integer("n_routed_experts", 1, kExpertsMax);
  config.experts_per_token = fields.integer("num_experts_per_tok", 1, config.num_experts);
  config.num_expert_groups = fields.integer_or("n_group", 1, 1, config.num_experts);
  config.groups_per_token = fields.integer_or("topk_group", 1, 1, config.num_expert_groups);
  config.normalize_weights = fields.flag_or("norm_topk_prob", true);
  config.routed_scaling =
      static_cast<float>(fields.number_or("routed_scaling_factor", 1.0, 1e-6, 1e6));
  check_expert_groups(fields, config);
  fields.must_be("scoring_func", "sigmoid");
  fields.must_be("topk_method", "noaux_tc");
  fields.only("n_shared_experts", 0);
  fields.only("moe_router_dtype", "float32");
}

Result<std::optional<QuantizationShape>> read_quantization(const nlohmann::json* object,
                                                           const std::string& source) {
  if (object == nullptr) return std::optional<QuantizationShape>();
  if (!object->is_object()) {
    return invalid_argument(source + ": quantization_config: found " + cite(*object) +
                            ", expected an object or null");
  }
  ConfigFields fields(*object, source, "quantization_config.");
  fields.must_be("quant_method", "fp8");
  fields.only("fmt", "e4m3");
  fields.must_be("weight_block_size", {128, 128});
  fields.only("activation_scheme", "dynamic");
  // Which tensors are FP8 is seen from the tensors: the list names modules of another program and
  // leaves out some that are not FP8 either.
  fields.any_strings("ignored_layers");
  fields.any_strings("modules_to_not_convert");
  TRY(fields.finish());
  return std::optional<QuantizationShape>(QuantizationShape{});
}

// Fields that say nothing about what is computed when a token is predicted.
void read_the_rest(ConfigFields& fields) {
  fields.only("hidden_act", "silu");
  fields.only("tie_word_embeddings", false);
  fields.only("torch_dtype", "bfloat16");
  fields.only("dtype", "bfloat16");
  fields.any_strings("auto_map");
  fields.any_string("transformers_version");
  fields.any_string("_name_or_path");
  fields.any_number("initializer_range");
  fields.any_flag("use_cache");
  fields.any_integer("bos_token_id");
  fields.any_integer("pad_token_id");
}

void append_new(std::vector<int32_t>& ids, const std::vector<int32_t>& more) {
  for (const int32_t id : more) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
}

}  // namespace

int32_t ModelConfig::num_layers_of(AttentionKind kind) const {
  return static_cast<int32_t>(std::count(attention.begin(), attention.end(), kind));
}

Result<ModelConfig> parse_model_config(std::string_view json, const std::string& source) {
  TRY_ASSIGN(const nlohmann::json object, parse_strict_json(json, {}, source));
  ConfigFields fields(object, source, "");
  ModelConfig config;
  fields.must_be("architectures", nlohmann::json::array({kArchitecture}));
  fields.must_be("model_type", "mimo_v2_flash");
  config.architecture = kArchitecture;
  config.hidden = fields.integer("hidden_size", 1, kHiddenMax);
  config.vocab = fields.integer("vocab_size", 1, kVocabMax);
  config.num_layers = fields.integer("num_hidden_layers", 1, kLayersMax);
  config.dense_intermediate = fields.integer("intermediate_size", 1, kIntermediateMax);
  config.norm_eps = static_cast<float>(fields.number("layernorm_epsilon", 1e-12, 1.0));
  config.max_positions = fields.integer("max_position_embeddings", 1, kPositionsMax);
  config.num_mtp_layers = fields.integer_or("num_nextn_predict_layers", 0, 0, kMtpLayersMax);
  read_attention_layers(fields, config);
  read_experts(fields, config);
  append_new(config.eos_ids, fields.ids("eos_token_id", config.vocab));
  read_the_rest(fields);
  const nlohmann::json* quantization = fields.take("quantization_config");
  TRY(fields.finish());
  TRY_ASSIGN(config.quantization, read_quantization(quantization, source));
  return config;
}

Result<std::vector<int32_t>> parse_generation_eos(std::string_view json, int32_t vocab,
                                                  const std::string& source) {
  TRY_ASSIGN(const nlohmann::json object, parse_strict_json(json, {}, source));
  const auto found = object.find("eos_token_id");
  if (found == object.end()) return std::vector<int32_t>();
  const nlohmann::json alone{{"eos_token_id", *found}};
  ConfigFields fields(alone, source, "");
  std::vector<int32_t> ids;
  append_new(ids, fields.ids("eos_token_id", vocab));
  TRY(fields.finish());
  return ids;
}

ModelConfig released_model_config() {
  ModelConfig config;
  config.architecture = kArchitecture;
  config.hidden = 4096;
  config.vocab = 152576;
  config.num_layers = 48;
  config.dense_intermediate = 16384;
  config.moe_intermediate = 2048;
  config.num_experts = 256;
  config.experts_per_token = 8;
  config.value_scale = 0.707f;
  config.max_positions = 262144;
  config.full = {64, 4, 192, 128, 64, 5e6, 0, false};
  config.window = {64, 8, 192, 128, 64, 1e4, 128, true};
  config.attention.assign(48, AttentionKind::kWindow);
  for (const int32_t full : {0, 5, 11, 17, 23, 29, 35, 41, 47}) {
    config.attention[full] = AttentionKind::kFull;
  }
  config.is_moe.assign(48, true);
  config.is_moe[0] = false;
  config.quantization = QuantizationShape{};
  config.num_mtp_layers = 3;
  return config;
}

}  // namespace mimo::checkpoint
