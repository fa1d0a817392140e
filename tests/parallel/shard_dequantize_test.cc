#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "checkpoint/checkpoint.h"
#include "parallel/shard.h"

namespace mimo::parallel {
namespace {

using checkpoint::AttentionShape;
using checkpoint::Checkpoint;
using checkpoint::ModelConfig;
using checkpoint::TensorView;

std::vector<float> floats(const TensorView& tensor) {
  std::vector<float> out(tensor.bytes.size() / sizeof(float));
  if (!out.empty()) std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
  return out;
}

// One layer's q, k and v with their scales.
struct Layer {
  const TensorView& q;
  const TensorView& k;
  const TensorView& v;
  std::vector<float> q_scales, k_scales, v_scales;
  KvScaleRule rule;
  const AttentionShape& shape;
  int32_t hidden;

  static Layer of(const Checkpoint& checkpoint, int32_t layer) {
    const std::string self = checkpoint::layer_prefix(layer) + "self_attn.";
    const auto scales = [&](const char* name) {
      return floats(checkpoint.tensor(self + name + ".weight_scale_inv"));
    };
    const ModelConfig& config = checkpoint.config();
    return {checkpoint.tensor(self + "q_proj.weight"),
            checkpoint.tensor(self + "k_proj.weight"),
            checkpoint.tensor(self + "v_proj.weight"),
            scales("q_proj"),
            scales("k_proj"),
            scales("v_proj"),
            checkpoint.form().layers[layer].kv_rule,
            config.attention_shape(config.attention[layer]),
            config.hidden};
  }
};

// The rank's fused [Q | K | V] matrix: its FP8 rows times the expanded scales.
std::vector<float> dequantize(const Layer& layer, KvScaleRule rule, const AttentionShard& shard) {
  const int32_t num_cols = (layer.hidden + 127) / 128;
  const ExpandedScales scales = expand_qkv_scales(
      layer.shape, rule, {layer.q_scales, layer.k_scales, layer.v_scales, num_cols}, shard);
  std::vector<float> out;
  const auto append = [&](const TensorView& tensor, Range heads, int32_t width) {
    for (int32_t row = heads.begin * width; row < heads.end * width; ++row) {
      const auto fused_row = static_cast<int64_t>(out.size()) / layer.hidden;
      const float* scale = &scales.values[fused_row / scales.rows_per_scale * num_cols];
      for (int32_t col = 0; col < layer.hidden; ++col) {
        const uint8_t bits = tensor.bytes[static_cast<size_t>(row) * layer.hidden + col];
        out.push_back(e4m3_to_float(bits) * scale[col / 128]);
      }
    }
  };
  append(layer.q, shard.q_heads, layer.shape.k_dim);
  append(layer.k, shard.kv_heads, layer.shape.k_dim);
  append(layer.v, shard.kv_heads, layer.shape.v_dim);
  return out;
}

// Every head's rows of a rank's matrix are those of the whole model's, bit for bit.
void expect_same_rows(const Layer& layer, const std::vector<float>& whole,
                      const std::vector<float>& part, const AttentionShard& shard) {
  const AttentionShape& shape = layer.shape;
  const int64_t q_rows = int64_t{shape.num_q_heads} * shape.k_dim;
  const int64_t k_rows = int64_t{shape.num_kv_heads} * shape.k_dim;
  int64_t at = 0;
  const auto compare = [&](int64_t first_row, Range heads, int32_t width) {
    const int64_t begin = (first_row + int64_t{heads.begin} * width) * layer.hidden;
    const int64_t size = int64_t{heads.size()} * width * layer.hidden;
    ASSERT_EQ(std::memcmp(&whole[begin], &part[at], size * sizeof(float)), 0);
    at += size;
  };
  compare(0, shard.q_heads, shape.k_dim);
  compare(q_rows, shard.kv_heads, shape.k_dim);
  compare(q_rows + k_rows, shard.kv_heads, shape.v_dim);
  EXPECT_EQ(at, static_cast<int64_t>(part.size()));
}

TEST(ShardDequantize, EveryElementIsTheSameAtEveryTp) {
  for (const char* name : {"/models/tiny", "/tests/golden/fp8-real-heads"}) {
    const auto checkpoint = Checkpoint::open(std::string(MIMO_SOURCE_DIR) + name).value();
    const ModelConfig& config = checkpoint->config();
    const ShardPlan alone = plan_shards(config, {.tp = 1}).value();
    int32_t num_cuts = 0;
    for (int32_t index = 0; index < 2; ++index) {  // a full layer and a window layer
      const Layer layer = Layer::of(*checkpoint, index);
      const auto kind = config.attention[index];
      const auto whole =
          dequantize(layer, layer.rule, rank_shard(config, alone, 0).attention(kind));
      for (int32_t tp = 2; tp <= 16; ++tp) {
        const auto plan = plan_shards(config, {.tp = tp});
        if (!plan.ok()) continue;
        ++num_cuts;
        for (int32_t rank = 0; rank < tp; ++rank) {
          const AttentionShard shard = rank_shard(config, plan.value(), rank).attention(kind);
          expect_same_rows(layer, whole, dequantize(layer, layer.rule, shard), shard);
        }
      }
    }
    EXPECT_GE(num_cuts, 4);
  }
}

// Root mean square of V's rows [begin, end) of each head, all kv heads together.
double rms_of_v(const Layer& layer, const std::vector<float>& whole, int32_t begin, int32_t end) {
  const AttentionShape& shape = layer.shape;
  const int64_t first = int64_t{shape.num_q_heads + shape.num_kv_heads} * shape.k_dim;
  double sum = 0;
  int64_t count = 0;
  for (int32_t head = 0; head < shape.num_kv_heads; ++head) {
    for (int64_t row = first + head * shape.v_dim + begin; row < first + head * shape.v_dim + end;
         ++row) {
      for (int32_t col = 0; col < layer.hidden; ++col, ++count) {
        sum += std::pow(whole[row * layer.hidden + col], 2);
      }
    }
  }
  return std::sqrt(sum / static_cast<double>(count));
}

TEST(ShardDequantize, TheHalvesOfAJointHeadsVAreOfOneSize) {
  const auto checkpoint =
      Checkpoint::open(std::string(MIMO_SOURCE_DIR) + "/tests/golden/fp8-real-heads").value();
  const Layer layer = Layer::of(*checkpoint, 0);
  const AttentionShard all{{0, layer.shape.num_q_heads}, {0, layer.shape.num_kv_heads}};
  ASSERT_EQ(layer.rule, KvScaleRule::kJointPerHead);

  const auto whole = dequantize(layer, layer.rule, all);

  // Weights were drawn from N(0, 1.6^2 / hidden).
  const double drawn = 1.6 / std::sqrt(static_cast<double>(layer.hidden));
  EXPECT_NEAR(rms_of_v(layer, whole, 0, 64), drawn, 0.02 * drawn);
  EXPECT_NEAR(rms_of_v(layer, whole, 64, 128), drawn, 0.02 * drawn);
}

}  // namespace
}  // namespace mimo::parallel
