#include "checkpoint/expected_tensors.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mimo::checkpoint {
namespace {

TEST(ExpectedTensors, TheReleasedModelIsAsLargeAsItIs) {
  const ModelConfig config = released_model_config();
  const CheckpointForm form = released_form(config);

  EXPECT_EQ(expected_tensors(config, form).size(), 72'826u);
  EXPECT_EQ(expected_bytes(config, form), 313'051'659'008);
}

TEST(ExpectedTensors, TheMainModelAloneLacksTheMtpLayers) {
  ModelConfig config = released_model_config();
  config.num_mtp_layers = 0;

  EXPECT_EQ(expected_tensors(config, released_form(config)).size(), 72'766u);
  EXPECT_EQ(expected_bytes(config, released_form(config)), 311'862'258'560);
}

TEST(ExpectedTensors, TheReleasedModelsShapes) {
  const ModelConfig config = released_model_config();
  const auto specs = expected_tensors(config, released_form(config));
  using Shape = std::vector<int64_t>;
  const auto shape = [&](const std::string& name) { return specs.at(name).shape; };

  EXPECT_EQ(shape("model.layers.0.self_attn.q_proj.weight"), (Shape{12288, 4096}));
  EXPECT_EQ(shape("model.layers.0.self_attn.q_proj.weight_scale_inv"), (Shape{96, 32}));
  EXPECT_EQ(shape("model.layers.5.self_attn.k_proj.weight"), (Shape{768, 4096}));
  EXPECT_EQ(shape("model.layers.5.self_attn.k_proj.weight_scale_inv"), (Shape{8, 32}));
  EXPECT_EQ(shape("model.layers.5.self_attn.v_proj.weight_scale_inv"), (Shape{4, 32}));
  EXPECT_EQ(shape("model.layers.1.self_attn.k_proj.weight_scale_inv"), (Shape{12, 32}));
  EXPECT_EQ(shape("model.layers.1.self_attn.v_proj.weight_scale_inv"), (Shape{8, 32}));
  EXPECT_EQ(shape("model.layers.1.self_attn.attention_sink_bias"), (Shape{64}));
  EXPECT_FALSE(specs.contains("model.layers.0.self_attn.attention_sink_bias"));
  EXPECT_FALSE(specs.contains("model.layers.0.self_attn.o_proj.weight_scale_inv"));
  EXPECT_EQ(shape("model.layers.0.mlp.down_proj.weight_scale_inv"), (Shape{32, 128}));
  EXPECT_EQ(shape("model.layers.47.mlp.experts.255.down_proj.weight_scale_inv"), (Shape{32, 16}));
  EXPECT_EQ(shape("model.layers.47.mlp.gate.weight"), (Shape{256, 4096}));
  EXPECT_EQ(shape("model.mtp.layers.2.eh_proj.weight"), (Shape{4096, 8192}));
  EXPECT_EQ(specs.at("model.layers.47.mlp.gate.weight").dtypes, std::vector<DType>{DType::kF32});
}

TEST(ExpectedTensors, AVisitorMayStop) {
  const ModelConfig config = released_model_config();
  int num_visited = 0;

  const bool all = visit_expected_tensors(
      config, released_form(config),
      [&](const std::string&, const TensorSpec&) { return ++num_visited < 10; });

  EXPECT_FALSE(all);
  EXPECT_EQ(num_visited, 10);
}

}  // namespace
}  // namespace mimo::checkpoint
