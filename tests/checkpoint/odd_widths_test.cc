#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "checkpoint/checkpoint.h"
#include "tests/checkpoint/files.h"

namespace mimo::checkpoint {
namespace {

using nlohmann::json;

// What differs between the small models of this family.
struct Widths {
  const char* name;
  bool fp8;
  int hidden;
  std::vector<int> pattern;
  int heads, kv_heads, k_dim, v_dim, window, experts, experts_per_token, moe, dense, vocab;
  json value_scale = 0.707, routed_scaling = nullptr;
  int num_groups = 1, groups_per_token = 1, num_mtp = 0;
};

json config_of(const Widths& w) {
  json config = json::parse(read_text(golden("bf16-small-window/config.json")));
  const int layers = static_cast<int>(w.pattern.size());
  config["hidden_size"] = w.hidden;
  config["num_hidden_layers"] = layers;
  config["hybrid_layer_pattern"] = w.pattern;
  std::vector<int> moe(layers, 1);
  moe[0] = 0;
  config["moe_layer_freq"] = moe;
  config["num_attention_heads"] = config["swa_num_attention_heads"] = w.heads;
  config["num_key_value_heads"] = w.kv_heads;
  config["swa_num_key_value_heads"] = 2 * w.kv_heads;
  config["head_dim"] = config["swa_head_dim"] = w.k_dim;
  config["v_head_dim"] = config["swa_v_head_dim"] = w.v_dim;
  config["sliding_window"] = config["sliding_window_size"] = w.window;
  config["n_routed_experts"] = w.experts;
  config["num_experts_per_tok"] = w.experts_per_token;
  config["moe_intermediate_size"] = w.moe;
  config["intermediate_size"] = w.dense;
  config["vocab_size"] = w.vocab;
  config["attention_value_scale"] = w.value_scale;
  config["routed_scaling_factor"] = w.routed_scaling;
  config["n_group"] = w.num_groups;
  config["topk_group"] = w.groups_per_token;
  if (w.fp8) {
    config["quantization_config"] =
        json::parse(read_text(golden("fp8-real-heads/config.json")))["quantization_config"];
  }
  return config;
}

// A checkpoint of zeros with every tensor that the config implies, in the released form.
void write_checkpoint(const std::string& folder, const Widths& widths) {
  const std::string text = config_of(widths).dump();
  write_text(folder + "/config.json", text);
  ModelConfig config = parse_model_config(text, "config.json").value();
  config.num_mtp_layers = widths.num_mtp;
  RawFile file;
  int64_t at = 0;
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF8E4m3}) {
    for (const auto& [name, spec] : expected_tensors(config, released_form(config))) {
      if (spec.dtypes.front() != dtype) continue;
      int64_t bytes = dtype_bytes(dtype);
      for (const int64_t dim : spec.shape) bytes *= dim;
      file.header[name] = {
          {"dtype", dtype_name(dtype)}, {"shape", spec.shape}, {"data_offsets", {at, at + bytes}}};
      at += bytes;
    }
  }
  const std::string path = folder + "/model.safetensors";
  write_text(path, file.join());
  std::filesystem::resize_file(path, std::filesystem::file_size(path) + at);
}

class OddWidths : public ::testing::TestWithParam<Widths> {};

TEST_P(OddWidths, ACheckpointOfThemOpens) {
  const Widths& widths = GetParam();
  const TempFolder folder;
  write_checkpoint(folder.path(), widths);

  const auto checkpoint = Checkpoint::open(folder.path()).value();

  const ModelConfig& config = checkpoint->config();
  EXPECT_EQ(config.num_mtp_layers, widths.num_mtp);
  EXPECT_EQ(checkpoint->num_tensors(),
            static_cast<int64_t>(expected_tensors(config, checkpoint->form()).size()));
  EXPECT_EQ(checkpoint->tensor_bytes(), expected_bytes(config, checkpoint->form()));
}

INSTANTIATE_TEST_SUITE_P(
    Models, OddWidths,
    ::testing::Values(Widths{"NoValueScale",
                             false,
                             96,
                             {0, 1, 0, 1, 1},
                             12,
                             3,
                             24,
                             40,
                             7,
                             6,
                             3,
                             48,
                             160,
                             211,
                             nullptr,
                             2.5,
                             1,
                             1,
                             1},
                      Widths{"VHasNoScaleRows",
                             true,
                             384,
                             {0, 1, 1},
                             16,
                             4,
                             192,
                             64,
                             128,
                             12,
                             5,
                             256,
                             640,
                             500,
                             0.707,
                             nullptr,
                             1,
                             1,
                             2},
                      Widths{"ExpertGroups",
                             false,
                             64,
                             {1, 1, 0, 0},
                             8,
                             1,
                             32,
                             16,
                             33,
                             8,
                             2,
                             32,
                             96,
                             128,
                             0.707,
                             nullptr,
                             4,
                             2},
                      Widths{"OddFp8", true, 200, {0, 1}, 6, 3, 50, 33, 5, 4, 2, 100, 150, 77}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(OddWidths, VWithoutScaleRowsIsFoundJoint) {
  const TempFolder folder;
  write_checkpoint(folder.path(),
                   Widths{"", true, 384, {0, 1, 1}, 16, 4, 192, 64, 128, 12, 5, 256, 640, 500});

  const auto checkpoint = Checkpoint::open(folder.path()).value();

  const auto& scales = checkpoint->tensor("model.layers.0.self_attn.v_proj.weight_scale_inv");
  EXPECT_EQ(scales.shape, (std::vector<int64_t>{0, 3}));
  EXPECT_TRUE(scales.bytes.empty());
  EXPECT_EQ(checkpoint->form().layers[0].kv_rule, KvScaleRule::kJointPerHead);
  EXPECT_EQ(checkpoint->form().layers[1].kv_rule, KvScaleRule::kPlain);
}

}  // namespace
}  // namespace mimo::checkpoint
