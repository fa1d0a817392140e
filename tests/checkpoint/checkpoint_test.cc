#include "checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/checkpoint/files.h"

namespace mimo::checkpoint {
namespace {

TEST(Checkpoint, OpensTheBundledModel) {
  const auto checkpoint = Checkpoint::open(tiny()).value();
  const ModelConfig& config = checkpoint->config();

  EXPECT_EQ(checkpoint->num_tensors(), 317);
  EXPECT_EQ(checkpoint->tensor_bytes(), 13614320);
  EXPECT_EQ(config.num_mtp_layers, 3);
  EXPECT_EQ(config.eos_ids, (std::vector<int32_t>{2034, 2032}));
  EXPECT_EQ(checkpoint->form().layers[0], (LayerForm{true, true, KvScaleRule::kJointPerHead}));
  EXPECT_EQ(checkpoint->form().layers[1], (LayerForm{true, true, KvScaleRule::kPlain}));
  EXPECT_EQ(checkpoint->form().mtp[0], (LayerForm{true, true, KvScaleRule::kPlain}));
}

struct Golden {
  const char* name;
  int64_t num_tensors;
  int32_t num_mtp_layers;
  LayerForm first_layer;
};

TEST(Checkpoint, OpensTheGoldenCheckpoints) {
  const Golden cases[] = {
      {"bf16-small-window", 218, 3, {false, false, KvScaleRule::kPlain}},
      {"fp8-real-heads", 217, 1, {true, true, KvScaleRule::kJointPerHead}},
      {"bf16-real-heads-window128", 54, 0, {false, false, KvScaleRule::kPlain}}};
  for (const Golden& expected : cases) {
    const auto checkpoint = Checkpoint::open(golden(expected.name)).value();

    EXPECT_EQ(checkpoint->num_tensors(), expected.num_tensors);
    EXPECT_EQ(checkpoint->config().num_mtp_layers, expected.num_mtp_layers);
    EXPECT_EQ(checkpoint->form().layers[0], expected.first_layer);
    EXPECT_TRUE(checkpoint->config().eos_ids.empty());
  }
}

TEST(Checkpoint, TensorsAreAsTheyLieInTheirFiles) {
  const auto checkpoint = Checkpoint::open(golden("fp8-real-heads")).value();

  const TensorView& k = checkpoint->tensor("model.layers.0.self_attn.k_proj.weight_scale_inv");

  EXPECT_EQ(k.dtype, DType::kF32);
  EXPECT_EQ(k.shape, (std::vector<int64_t>{8, 2}));
  ASSERT_EQ(k.bytes.size(), 64u);
  const std::string file = read_text(golden("fp8-real-heads/model_0.safetensors"));
  EXPECT_EQ(file.substr(8 + 12352 + 48, 64),
            std::string(reinterpret_cast<const char*>(k.bytes.data()), 64));
  EXPECT_TRUE(k.file.ends_with("fp8-real-heads/model_0.safetensors"));
}

TEST(Checkpoint, TheDigestIsThatOfTheFilesNotOfTheirFolder) {
  const CheckpointCopy copy(tiny());
  CheckpointCopy other(tiny());
  other.edit_json("config.json", [](nlohmann::json& json) { json["rope_theta"] = 4e6; });

  CheckpointCopy tokens(tiny());
  tokens.edit_json("tokenizer.json", [](nlohmann::json& json) { json["version"] = "1.1"; });

  const uint64_t digest = Checkpoint::open(tiny()).value()->digest();

  EXPECT_EQ(Checkpoint::open(copy.path()).value()->digest(), digest);
  EXPECT_NE(Checkpoint::open(other.path()).value()->digest(), digest);
  EXPECT_NE(Checkpoint::open(tokens.path()).value()->digest(), digest);
}

}  // namespace
}  // namespace mimo::checkpoint
