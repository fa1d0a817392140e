#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "checkpoint/checkpoint.h"
#include "tests/checkpoint/files.h"

namespace mimo::checkpoint {
namespace {

using nlohmann::json;

constexpr const char* kBf16 = "bf16-real-heads-window128";
constexpr const char* kFp8 = "fp8-real-heads";
constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

// What open says, without the folder's name.
std::string refusal(const CheckpointCopy& copy) {
  const auto checkpoint = Checkpoint::open(copy.path());
  if (checkpoint.ok()) return "accepted";
  std::string message = checkpoint.error().message;
  for (size_t at = message.find(copy.path()); at != std::string::npos;
       at = message.find(copy.path())) {
    message.replace(at, copy.path().size(), "DIR");
  }
  return message;
}

std::string refusal_after(const char* source, const std::string& file,
                          const std::function<void(RawFile&)>& edit) {
  CheckpointCopy copy(golden(source));
  copy.edit_tensors(file, edit);
  return refusal(copy);
}

TEST(BadCheckpoint, FilesThatAreNotThereAreNamed) {
  const CheckpointCopy no_config(golden(kBf16));
  std::filesystem::remove(no_config.file("config.json"));
  EXPECT_EQ(refusal(no_config), "DIR/config.json: cannot open: No such file or directory");

  const CheckpointCopy no_weights(golden(kBf16));
  std::filesystem::remove(no_weights.file(kSingle));
  EXPECT_EQ(refusal(no_weights),
            "DIR: neither model.safetensors nor model.safetensors.index.json is there");

  const CheckpointCopy no_shard(golden(kFp8));
  std::filesystem::remove(no_shard.file("model_1.safetensors"));
  EXPECT_EQ(refusal(no_shard), "DIR/model_1.safetensors: cannot open: No such file or directory");

  const CheckpointCopy both(golden(kFp8));
  write_text(both.file(kSingle), "");
  EXPECT_EQ(refusal(both),
            "DIR: both model.safetensors and model.safetensors.index.json, which does not name "
            "it: which one is the model?");
}

TEST(BadCheckpoint, ATruncatedFileIsRefused) {
  const CheckpointCopy copy(golden(kBf16));
  std::filesystem::resize_file(copy.file(kSingle), 4'000'000);

  const std::string message = refusal(copy);

  EXPECT_EQ(message.find("DIR/model.safetensors: tensor '"), 0u) << message;
  EXPECT_TRUE(message.ends_with("end after the file's 3994088: cut short?")) << message;
}

TEST(BadCheckpoint, AMissingTensorIsNamed) {
  EXPECT_EQ(refusal_after(kBf16, kSingle, [](RawFile& file) { file.remove("model.norm.weight"); }),
            "DIR: tensor 'model.norm.weight': missing from all files, expected BF16 [128]");
}

TEST(BadCheckpoint, AnExtraTensorIsNamed) {
  EXPECT_EQ(refusal_after(kBf16, kSingle,
                          [](RawFile& file) {
                            file.insert("model.layers.3.mlp.gate_proj.weight", "BF16", {4}, 8);
                          }),
            "DIR/model.safetensors: tensor 'model.layers.3.mlp.gate_proj.weight': not a tensor of "
            "this model");
}

TEST(BadCheckpoint, AnotherDtypeOrShapeIsNamed) {
  const char* router = "model.layers.1.mlp.gate.weight";
  const char* sinks = "model.layers.1.self_attn.attention_sink_bias";
  const auto with = [](const char* name, const char* dtype, std::vector<int64_t> shape, int64_t n) {
    return refusal_after(kBf16, kSingle,
                         [&](RawFile& file) { file.replace(name, dtype, shape, n); });
  };

  EXPECT_EQ(with(router, "BF16", {4, 128}, 1024),
            "DIR/model.safetensors: tensor 'model.layers.1.mlp.gate.weight': found BF16 [4, 128], "
            "expected F32 [4, 128]");
  EXPECT_EQ(with(router, "F32", {128, 4}, 2048),
            "DIR/model.safetensors: tensor 'model.layers.1.mlp.gate.weight': found F32 [128, 4], "
            "expected F32 [4, 128]");
  EXPECT_EQ(with(sinks, "I32", {16}, 64),
            "DIR/model.safetensors: tensor 'model.layers.1.self_attn.attention_sink_bias': found "
            "I32 [16], expected BF16 or F32 [16]");
  EXPECT_EQ(with(sinks, "F32", {16}, 64), "accepted");
}

TEST(BadCheckpoint, Fp8WithoutItsConfigOrWithoutItsScalesIsRefused) {
  EXPECT_EQ(refusal_after(kBf16, kSingle,
                          [](RawFile& file) {
                            file.replace("model.layers.0.self_attn.q_proj.weight", "F8_E4M3",
                                         {3072, 128}, 3072 * 128);
                          }),
            "DIR/model.safetensors: tensor 'model.layers.0.self_attn.q_proj.weight': F8_E4M3, but "
            "config.json has no quantization_config");

  CheckpointCopy copy(golden(kFp8));
  const char* scale = "model.layers.0.mlp.down_proj.weight_scale_inv";
  copy.edit_tensors("model_0.safetensors", [&](RawFile& file) { file.remove(scale); });
  copy.edit_json(kIndex, [&](json& index) { index["weight_map"].erase(scale); });
  EXPECT_EQ(refusal(copy),
            "DIR: tensor 'model.layers.0.mlp.down_proj.weight_scale_inv': missing from all files, "
            "expected F32 [2, 2]");
}

TEST(BadCheckpoint, AQuantizedConfigMayHoldBf16LayersButNoMixedOnes) {
  const std::string mlp = "model.layers.0.mlp.";
  const auto make_bf16 = [&](const std::vector<std::string>& names, bool with_scales) {
    CheckpointCopy copy(golden(kFp8));
    copy.edit_tensors("model_0.safetensors", [&](RawFile& file) {
      for (const std::string& name : names) {
        file.replace(mlp + name + ".weight", "BF16", {256, 256}, 256 * 256 * 2);
        if (!with_scales) file.remove(mlp + name + ".weight_scale_inv");
      }
    });
    copy.edit_json(kIndex, [&](json& index) {
      for (const std::string& name : names) {
        if (!with_scales) index["weight_map"].erase(mlp + name + ".weight_scale_inv");
      }
    });
    return refusal(copy);
  };

  EXPECT_EQ(make_bf16({"gate_proj", "up_proj", "down_proj"}, false), "accepted");
  EXPECT_EQ(make_bf16({"up_proj"}, false),
            "DIR/model_0.safetensors: tensor 'model.layers.0.mlp.up_proj.weight': found BF16 [256, "
            "256], expected F8_E4M3 [256, 256]");
  EXPECT_EQ(make_bf16({"gate_proj", "up_proj", "down_proj"}, true),
            "DIR/model_0.safetensors: tensor 'model.layers.0.mlp.down_proj.weight_scale_inv': "
            "scales of a weight that is BF16 [256, 256], not F8_E4M3");
}

TEST(BadCheckpoint, ScaleRowsThatFitNoRuleAreRefused) {
  const std::string message = refusal_after(kFp8, "model_0.safetensors", [](RawFile& file) {
    file.replace("model.layers.0.self_attn.k_proj.weight_scale_inv", "F32", {7, 2}, 56);
  });

  EXPECT_EQ(message.find("DIR/model_0.safetensors: tensor "
                         "'model.layers.0.self_attn.k_proj.weight_scale_inv': scale rows: 7 K and "
                         "4 V; 4 kv heads"),
            0u)
      << message;
}

TEST(BadCheckpoint, IndexAndFilesMustAgree) {
  const char* norm = "model.norm.weight";
  CheckpointCopy absent(golden(kFp8));
  absent.edit_json(kIndex, [&](json& index) { index["weight_map"].erase(norm); });
  EXPECT_EQ(refusal(absent),
            "DIR/model_1.safetensors: tensor 'model.norm.weight': "
            "DIR/model.safetensors.index.json does not name it");

  CheckpointCopy elsewhere(golden(kFp8));
  elsewhere.edit_json(kIndex,
                      [&](json& index) { index["weight_map"][norm] = "model_0.safetensors"; });
  EXPECT_EQ(refusal(elsewhere),
            "DIR/model_1.safetensors: tensor 'model.norm.weight': "
            "DIR/model.safetensors.index.json says that it is in model_0.safetensors");

  CheckpointCopy promised(golden(kFp8));
  promised.edit_json(kIndex,
                     [&](json& index) { index["weight_map"]["ghost"] = "model_0.safetensors"; });
  EXPECT_EQ(refusal(promised),
            "DIR/model_0.safetensors: tensor 'ghost': not there, although "
            "DIR/model.safetensors.index.json says so");
}

TEST(BadCheckpoint, MtpLayersStartAtZeroAndAreWhole) {
  const auto small = [](const std::function<void(RawFile&)>& edit) {
    return refusal_after("bf16-small-window", kSingle, edit);
  };
  const auto drop_layer = [](RawFile& file, const std::string& prefix) {
    std::vector<std::string> names;
    for (const auto& [name, value] : file.header.items()) {
      if (name.starts_with(prefix)) names.push_back(name);
    }
    for (const std::string& name : names) file.remove(name);
  };

  const std::string gap = small([&](RawFile& file) { drop_layer(file, "model.mtp.layers.1."); });
  EXPECT_EQ(gap.find("DIR/model.safetensors: tensor 'model.mtp.layers.2."), 0u) << gap;
  EXPECT_TRUE(gap.ends_with("there is no MTP layer 1 before it")) << gap;
  EXPECT_EQ(small([&](RawFile& file) { drop_layer(file, "model.mtp.layers.2."); }), "accepted");
  EXPECT_EQ(small([](RawFile& file) { file.remove("model.mtp.layers.2.enorm.weight"); }),
            "DIR: tensor 'model.mtp.layers.2.enorm.weight': missing from all files, expected BF16 "
            "[128]");
  EXPECT_EQ(small([](RawFile& file) { file.insert("model.mtp.layers.02.x", "BF16", {4}, 8); }),
            "DIR/model.safetensors: tensor 'model.mtp.layers.02.x': not a tensor of this model");

  CheckpointCopy other_depth(golden("bf16-small-window"));
  other_depth.edit_json("config.json", [](json& c) { c["num_nextn_predict_layers"] = 2; });
  EXPECT_EQ(refusal(other_depth),
            "num_nextn_predict_layers: 2 in config.json, but the files hold 3 MTP layers "
            "(model.mtp.layers.*)");
}

TEST(BadCheckpoint, TheFusedProjectionsOfTheNextModelAreRecognised) {
  const std::string message = refusal_after(kBf16, kSingle, [](RawFile& file) {
    file.insert("model.layers.0.self_attn.qkv_proj.weight", "BF16", {4}, 8);
  });

  EXPECT_EQ(message,
            "DIR/model.safetensors: tensor 'model.layers.0.self_attn.qkv_proj.weight': query, key "
            "and value projections fused into one, sharded for 4 ranks, as MiMo-V2.5 stores them; "
            "expected MiMo-V2-Flash's q_proj, k_proj and v_proj, each a tensor of its own");
}

TEST(BadCheckpoint, AnAbsurdConfigIsRefusedBeforeItIsSpelledOut) {
  CheckpointCopy copy(golden(kBf16));
  copy.edit_json("config.json", [](json& config) {
    config["n_routed_experts"] = 4096;
    config["hidden_size"] = 1 << 18;
    config["intermediate_size"] = 1 << 20;
  });

  EXPECT_EQ(refusal(copy),
            "DIR/model.safetensors: tensor 'model.embed_tokens.weight': found BF16 [128, 128], "
            "expected BF16 [128, 262144]");
}

}  // namespace
}  // namespace mimo::checkpoint
