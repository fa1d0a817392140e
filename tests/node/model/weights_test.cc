#include "node/model/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "edited_checkpoint.h"
#include "harness.h"
#include "node/model/weight_packer.h"

namespace mimo::node::model_test {
namespace {

const std::string kFp8 = checkpoint_folder("fp8-real-heads");

// A packed matrix with its scales applied.
std::vector<float> dequantised(const PackedLinear& m) {
  const int64_t scale_cols = (m.cols + 127) / 128;
  std::vector<float> values;
  for (int64_t row = 0; row < m.rows; ++row) {
    for (int64_t col = 0; col < m.cols; ++col) {
      values.push_back(e4m3_to_float(m.bytes[row * m.cols + col]) *
                       m.scales[row / m.rows_per_scale * scale_cols + col / 128]);
    }
  }
  return values;
}

std::vector<float> rows_of(const std::vector<float>& values, int64_t cols, int64_t begin,
                           int64_t end) {
  return {values.begin() + begin * cols, values.begin() + end * cols};
}

TEST(WeightPacker, QkvOfEveryRankIsTheWholeOnesRowsAtEveryTp) {
  const auto checkpoint = checkpoint::Checkpoint::open(kFp8).value();
  const checkpoint::ModelConfig& config = checkpoint->config();
  const int64_t cols = config.hidden;
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    const auto kind = config.attention[layer];
    const checkpoint::AttentionShape& shape = config.attention_shape(kind);
    const int64_t k_begin = int64_t{shape.num_q_heads} * shape.k_dim;
    const int64_t v_begin = k_begin + int64_t{shape.num_kv_heads} * shape.k_dim;
    const auto one = parallel::plan_shards(config, {.tp = 1, .experts = std::nullopt}).value();
    const auto whole_shard = parallel::rank_shard(config, one, 0);
    const auto whole = dequantised(WeightPacker(*checkpoint, whole_shard).qkv(layer).value());
    for (const int32_t tp : {2, 4, 8}) {
      const auto plan = parallel::plan_shards(config, {.tp = tp, .experts = std::nullopt}).value();
      for (int32_t rank = 0; rank < tp; ++rank) {
        const auto shard = parallel::rank_shard(config, plan, rank);
        const auto& heads = shard.attention(kind);
        std::vector<float> expected =
            rows_of(whole, cols, int64_t{heads.q_heads.begin} * shape.k_dim,
                    int64_t{heads.q_heads.end} * shape.k_dim);
        for (const auto& [begin, width] : {std::pair<int64_t, int64_t>{k_begin, shape.k_dim},
                                           std::pair<int64_t, int64_t>{v_begin, shape.v_dim}}) {
          const auto part = rows_of(whole, cols, begin + heads.kv_heads.begin * width,
                                    begin + heads.kv_heads.end * width);
          expected.insert(expected.end(), part.begin(), part.end());
        }

        const PackedLinear packed = WeightPacker(*checkpoint, shard).qkv(layer).value();

        EXPECT_EQ(packed.rows_per_scale, 64);
        EXPECT_TRUE(dequantised(packed) == expected) << layer << " tp " << tp << " rank " << rank;
      }
    }
  }
}

// The V rows of a full layer's head that share the last K rows' block have that block's scale.
TEST(WeightPacker, FullLayersReadTheScalesOfJointBlocks) {
  EditedCheckpoint edited(kFp8);
  const std::string prefix = "model.layers.0.self_attn.";
  auto& k_scales = edited.tensor(prefix + "k_proj.weight_scale_inv");
  ASSERT_EQ(k_scales.shape, (std::vector<int64_t>{8, 2}));  // 4 heads of 2 rows each
  const float marker = 123.0f;
  std::memcpy(k_scales.bytes.data() + 3 * 2 * sizeof(float), &marker, sizeof marker);
  const auto checkpoint = checkpoint::Checkpoint::open(edited.save()).value();
  const auto plan =
      parallel::plan_shards(checkpoint->config(), {.tp = 4, .experts = std::nullopt}).value();
  const auto shard = parallel::rank_shard(checkpoint->config(), plan, 1);

  const PackedLinear packed = WeightPacker(*checkpoint, shard).qkv(0).value();

  // Rank 1: two q heads (6 rows of 64), K head 1 (3), V head 1 (2).
  std::vector<int64_t> marked;
  for (size_t row = 0; row < packed.scales.size() / 2; ++row) {
    if (packed.scales[row * 2] == marker) marked.push_back(static_cast<int64_t>(row));
  }
  EXPECT_EQ(marked, (std::vector<int64_t>{8, 9}));  // K rows 128 to 191, V rows 0 to 63
}

TEST(LoadWeights, MemoryThatEndsIsSaidWithTheTensor) {
  const auto checkpoint = checkpoint::Checkpoint::open(kFp8).value();
  const auto plan =
      parallel::plan_shards(checkpoint->config(), {.tp = 1, .experts = std::nullopt}).value();
  const auto shard = parallel::rank_shard(checkpoint->config(), plan, 0);
  auto ops = kernels::make_cpu_ops(
                 {.mode = kernels::CpuMode::kF32, .num_threads = 1, .memory_bytes_max = 2'000'000})
                 .value();

  const auto refused = load_weights(*checkpoint, shard, *ops, {});

  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("model.layers."), std::string::npos)
      << refused.error().message;
}

TEST(LoadWeights, AnyNumberOfThreadsLoadsEveryMatrix) {
  for (const int32_t num_threads : {1, 5}) {
    const auto checkpoint = checkpoint::Checkpoint::open(kFp8).value();
    const auto plan =
        parallel::plan_shards(checkpoint->config(), {.tp = 1, .experts = std::nullopt}).value();
    const auto shard = parallel::rank_shard(checkpoint->config(), plan, 0);
    auto ops = kernels::make_cpu_ops({.mode = kernels::CpuMode::kF32, .num_threads = 1}).value();

    const auto weights = load_weights(*checkpoint, shard, *ops, {.num_threads = num_threads});

    ASSERT_TRUE(weights.ok()) << weights.error().to_string();
    for (const LayerWeights& layer : weights.value().layers) {
      EXPECT_EQ(layer.qkv.cols, 256);
      EXPECT_EQ(layer.o_proj.rows, 256);
      if (layer.router != nullptr) {
        EXPECT_EQ(layer.experts.down.cols, 128);
        EXPECT_EQ(layer.experts.gate_up.count, layer.experts.down.count);
      }
    }
    EXPECT_EQ(weights.value().embedding.rows, 256);
  }
}

}  // namespace
}  // namespace mimo::node::model_test
