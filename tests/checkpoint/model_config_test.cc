#include "checkpoint/model_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/checkpoint/files.h"

namespace mimo::checkpoint {
namespace {

using Json = nlohmann::json;

// config.json of the released model, field by field.
Json released_json() {
  Json pattern = Json::array();
  for (int layer = 0; layer < 48; ++layer) pattern.push_back(1);
  for (const int full : {0, 5, 11, 17, 23, 29, 35, 41, 47}) pattern[full] = 0;
  Json moe = Json::array({0});
  Json ignored = Json::array({"model.decoder.self_attn.o_proj"});
  for (int layer = 1; layer < 48; ++layer) moe.push_back(1);
  Json json = Json::parse(R"({
    "architectures": ["MiMoV2FlashForCausalLM"], "model_type": "mimo_v2_flash",
    "auto_map": {"AutoConfig": "configuration_mimo_v2_flash.MiMoV2FlashConfig",
                 "AutoModelForCausalLM": "modeling_mimo_v2_flash.MiMoV2FlashForCausalLM"},
    "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "hidden_size": 4096,
    "num_hidden_layers": 48, "intermediate_size": 16384, "moe_intermediate_size": 2048,
    "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 192, "v_head_dim": 128,
    "swa_num_attention_heads": 64, "swa_num_key_value_heads": 8, "swa_head_dim": 192,
    "swa_v_head_dim": 128, "vocab_size": 152576, "tie_word_embeddings": false,
    "max_position_embeddings": 262144, "hidden_act": "silu", "layernorm_epsilon": 1e-5,
    "attention_bias": false, "attention_dropout": 0.0, "initializer_range": 0.02,
    "use_cache": true, "partial_rotary_factor": 0.334, "rope_theta": 5000000,
    "swa_rope_theta": 10000, "rope_scaling": null, "sliding_window": 128,
    "sliding_window_size": 128, "attention_chunk_size": 128, "hybrid_block_size": null,
    "add_swa_attention_sink_bias": true, "add_full_attention_sink_bias": false,
    "attention_value_scale": 0.707, "n_routed_experts": 256, "num_experts_per_tok": 8,
    "n_shared_experts": null, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "n_group": 1,
    "topk_group": 1, "norm_topk_prob": true, "routed_scaling_factor": null,
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                            "weight_block_size": [128, 128]}})");
  json["hybrid_layer_pattern"] = pattern;
  json["moe_layer_freq"] = moe;
  json["quantization_config"]["ignored_layers"] = ignored;
  return json;
}

Result<ModelConfig> parse(const Json& json) { return parse_model_config(json.dump(), "c.json"); }

std::string refusal(const std::string& text) {
  const auto config = parse_model_config(text, "c.json");
  if (config.ok()) return "accepted";
  EXPECT_EQ(config.error().code, Code::kInvalidArgument);
  return config.error().message;
}

// What parse says when one field is changed.
std::string refusal_with(const std::string& field, const Json& value) {
  Json json = released_json();
  json[field] = value;
  return refusal(json.dump());
}

void expect_same_shape(const AttentionShape& a, const AttentionShape& b) {
  EXPECT_EQ(a.num_q_heads, b.num_q_heads);
  EXPECT_EQ(a.num_kv_heads, b.num_kv_heads);
  EXPECT_EQ(a.k_dim, b.k_dim);
  EXPECT_EQ(a.v_dim, b.v_dim);
  EXPECT_EQ(a.rotary_dim, b.rotary_dim);
  EXPECT_EQ(a.rope_theta, b.rope_theta);
  EXPECT_EQ(a.window, b.window);
  EXPECT_EQ(a.has_sinks, b.has_sinks);
}

TEST(ModelConfig, TheReleasedFileIsTheReleasedGeometry) {
  const ModelConfig read = parse(released_json()).value();
  const ModelConfig known = released_model_config();

  expect_same_shape(read.full, known.full);
  expect_same_shape(read.window, known.window);
  EXPECT_EQ(read.architecture, known.architecture);
  EXPECT_EQ(read.hidden, known.hidden);
  EXPECT_EQ(read.vocab, known.vocab);
  EXPECT_EQ(read.num_layers, known.num_layers);
  EXPECT_EQ(read.dense_intermediate, known.dense_intermediate);
  EXPECT_EQ(read.moe_intermediate, known.moe_intermediate);
  EXPECT_EQ(read.num_experts, known.num_experts);
  EXPECT_EQ(read.experts_per_token, known.experts_per_token);
  EXPECT_EQ(read.num_expert_groups, known.num_expert_groups);
  EXPECT_EQ(read.groups_per_token, known.groups_per_token);
  EXPECT_EQ(read.normalize_weights, known.normalize_weights);
  EXPECT_EQ(read.routed_scaling, known.routed_scaling);
  EXPECT_EQ(read.value_scale, known.value_scale);
  EXPECT_EQ(read.norm_eps, known.norm_eps);
  EXPECT_EQ(read.max_positions, known.max_positions);
  EXPECT_EQ(read.attention, known.attention);
  EXPECT_EQ(read.is_moe, known.is_moe);
  EXPECT_TRUE(read.quantization.has_value());
  EXPECT_EQ(known.num_layers_of(AttentionKind::kFull), 9);
  EXPECT_EQ(known.num_layers_of(AttentionKind::kWindow), 39);
}

TEST(ModelConfig, ReadsTheBundledModels) {
  const ModelConfig config =
      parse_model_config(read_text(tiny() + "/config.json"), "config.json").value();
  const ModelConfig small =
      parse_model_config(read_text(golden("bf16-small-window/config.json")), "x").value();

  EXPECT_EQ(config.hidden, 256);
  EXPECT_EQ(config.full.num_kv_heads, 2);
  EXPECT_EQ(config.window.num_kv_heads, 4);
  EXPECT_EQ(config.eos_ids, std::vector<int32_t>{2034});
  EXPECT_TRUE(config.quantization.has_value());
  EXPECT_EQ(small.full.rotary_dim, 16);
  EXPECT_EQ(small.window.window, 16);
  EXPECT_FALSE(small.quantization.has_value());
}

TEST(ModelConfig, NullMeansNoScalingAndGroupsAreRead) {
  Json json = released_json();
  json["attention_value_scale"] = nullptr;
  json["routed_scaling_factor"] = 2.5;
  json["n_group"] = 4;
  json["topk_group"] = 2;
  json["eos_token_id"] = {7, 9, 7};

  const ModelConfig config = parse(json).value();

  EXPECT_EQ(config.value_scale, 1.0f);
  EXPECT_EQ(config.routed_scaling, 2.5f);
  EXPECT_EQ(config.num_expert_groups, 4);
  EXPECT_EQ(config.groups_per_token, 2);
  EXPECT_EQ(config.eos_ids, (std::vector<int32_t>{7, 9}));
}

struct Refused {
  const char* field;
  Json value;
  const char* says;  // a part of the message, beside the field's name
};

TEST(ModelConfig, EachWrongValueIsRefusedByName) {
  const std::vector<Refused> cases = {
      {"hidden_size", 0, "found 0, expected an integer from 1 to"},
      {"hidden_size", -4096, "found -4096"},
      {"hidden_size", 4096.0, "found 4096.0"},
      {"hidden_size", "4096", "found '4096'"},
      {"hidden_size", 1ull << 63, "found 9223372036854775808"},
      {"hidden_size", nullptr, "missing"},
      {"num_hidden_layers", 1 << 20, "expected an integer from 1 to 1024"},
      {"num_hidden_layers", 47, "48 values, expected a list of 47"},
      {"hybrid_layer_pattern", "x", "expected a list"},
      {"moe_layer_freq", Json::array({0, 1}), "2 values, expected a list of 48"},
      {"vocab_size", true, "found true"},
      {"n_routed_experts", 1 << 30, "expected an integer from 1 to"},
      {"num_experts_per_tok", 257, "from 1 to 256"},
      {"n_group", 3, "3 does not divide n_routed_experts = 256"},
      {"n_group", 256, "judged by its two best"},
      {"topk_group", 2, "expected an integer from 1 to 1"},
      {"num_key_value_heads", 5, "5 does not divide num_attention_heads = 64"},
      {"swa_num_key_value_heads", 7, "7 does not divide swa_num_attention_heads = 64"},
      {"partial_rotary_factor", 0.001, "rotates 0 of head_dim = 192"},
      {"partial_rotary_factor", 0.34, "rotates 65 of head_dim = 192"},
      {"partial_rotary_factor", 1.5, "expected a number from 0 to 1"},
      {"rope_theta", 0, "expected a number from 1 to"},
      {"rope_scaling", {{"type", "yarn"}, {"factor", 4}}, "expected null: plain rotary"},
      {"sliding_window_size", 64, "found 64, expected sliding_window's 128"},
      {"attention_chunk_size", 127, "found 127, expected sliding_window's 128"},
      {"sliding_window", nullptr, "missing"},
      {"hybrid_block_size", 6, "found 6, expected null"},
      {"layernorm_epsilon", 0, "expected a number from"},
      {"architectures", Json::array({"MiMoV2ForCausalLM"}), "[\"MiMoV2FlashForCausalLM\"]"},
      {"model_type", "mimo_v2", "found 'mimo_v2', expected 'mimo_v2_flash'"},
      {"attention_projection_layout", "fused", "fused projections of MiMo-V2.5"},
      {"attention_bias", true, "found true, expected false"},
      {"attention_dropout", 0.1, "found 0.1, expected 0.0"},
      {"tie_word_embeddings", true, "found true, expected false"},
      {"hidden_act", "gelu", "found 'gelu', expected 'silu'"},
      {"scoring_func", "softmax", "expected 'sigmoid'"},
      {"topk_method", "greedy", "expected 'noaux_tc'"},
      {"n_shared_experts", 1, "found 1, expected 0"},
      {"moe_router_dtype", "bfloat16", "expected 'float32'"},
      {"torch_dtype", "float16", "expected 'bfloat16'"},
      {"norm_topk_prob", 1, "found 1, expected true or false"},
      {"eos_token_id", 152576, "expected a token id from 0 to 152575"},
      {"eos_token_id", -1, "found -1"},
      {"quantization_config", "fp8", "expected an object or null"},
      {"auto_map", 7, "expected strings"},
      {"num_nextn_predict_layers", 65, "from 0 to 64"},
      {"a_new_field", 1, "a field that this program does not know"}};
  for (const Refused& refused : cases) {
    const std::string message = refusal_with(refused.field, refused.value);

    EXPECT_EQ(message.find("c.json: "), 0u) << message;
    EXPECT_NE(message.find(refused.field), std::string::npos) << message;
    EXPECT_NE(message.find(refused.says), std::string::npos)
        << refused.field << " = " << refused.value << ": " << message;
  }
}

TEST(ModelConfig, EachWrongQuantizationIsRefusedByName) {
  const std::vector<Refused> cases = {
      {"quant_method", "mxfp4", "expected 'fp8'"},
      {"quant_method", nullptr, "missing"},
      {"fmt", "e5m2", "expected 'e4m3'"},
      {"weight_block_size", Json::array({64, 128}), "found [64,128], expected [128,128]"},
      {"activation_scheme", "static", "expected 'dynamic'"},
      {"ignored_layers", Json::array({1}), "expected strings"},
      {"scale_fmt", "ue8m0", "a field that this program does not know"}};
  for (const Refused& refused : cases) {
    Json json = released_json();
    json["quantization_config"][refused.field] = refused.value;
    const std::string message = refusal(json.dump());

    EXPECT_NE(message.find("quantization_config."), std::string::npos) << message;
    EXPECT_NE(message.find(refused.field), std::string::npos) << message;
    EXPECT_NE(message.find(refused.says), std::string::npos) << message;
  }
}

TEST(ModelConfig, EachFieldIsNeededOrHasADefault) {
  const std::vector<std::string> optional = {"auto_map",
                                             "torch_dtype",
                                             "transformers_version",
                                             "tie_word_embeddings",
                                             "hidden_act",
                                             "attention_bias",
                                             "attention_dropout",
                                             "initializer_range",
                                             "use_cache",
                                             "rope_scaling",
                                             "sliding_window_size",
                                             "attention_chunk_size",
                                             "hybrid_block_size",
                                             "n_shared_experts",
                                             "n_group",
                                             "topk_group",
                                             "norm_topk_prob",
                                             "routed_scaling_factor",
                                             "attention_value_scale",
                                             "quantization_config",
                                             "add_swa_attention_sink_bias",
                                             "add_full_attention_sink_bias"};
  const Json whole = released_json();
  for (const auto& [field, value] : whole.items()) {
    Json json = released_json();
    json.erase(field);
    const std::string message = refusal(json.dump());

    const bool has_default = std::find(optional.begin(), optional.end(), field) != optional.end();
    EXPECT_EQ(message, has_default ? "accepted" : "c.json: " + field + ": missing");
  }
}

TEST(ModelConfig, WhatIsNotAStrictObjectIsRefused) {
  EXPECT_EQ(refusal(""), "c.json: not JSON at byte 1");
  EXPECT_EQ(refusal("[]"), "c.json: expected a JSON object, found array");
  EXPECT_EQ(refusal("{\"hidden_size\": 1, \"hidden_size\": 2}"),
            "c.json: the key 'hidden_size' is there twice");
  EXPECT_EQ(refusal("{\"rope_theta\": NaN}"), "c.json: not JSON at byte 16");
  EXPECT_EQ(refusal("{\"rope_theta\": 1e999}"), "c.json: a number too large, at byte 20");
  EXPECT_EQ(refusal("{} {}"), "c.json: not JSON at byte 4");
  const std::string deep(100000, '[');
  EXPECT_EQ(refusal("{\"a\": " + deep), "c.json: nested deeper than 8");
}

TEST(GenerationConfig, OnlyTheEndIdsAreRead) {
  const auto ids = [](const char* text) {
    return parse_generation_eos(text, 100, "g.json").value();
  };

  EXPECT_EQ(ids("{\"eos_token_id\": [5, 6], \"top_p\": 0.95}"), (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(ids("{\"eos_token_id\": 5}"), std::vector<int32_t>{5});
  EXPECT_TRUE(ids("{}").empty());
  EXPECT_EQ(parse_generation_eos("{\"eos_token_id\": [5, 100]}", 100, "g.json").error().message,
            "g.json: eos_token_id: found 100, expected a token id from 0 to 99");
}

}  // namespace
}  // namespace mimo::checkpoint
