#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "checkpoint/kv_scale.h"
#include "checkpoint/model_config.h"

namespace mimo::parallel {

using checkpoint::KvScaleRule;
using checkpoint::ScaleRowRef;

// Half-open.
struct Range {
  int32_t begin = 0;
  int32_t end = 0;
  int32_t size() const { return end - begin; }
  bool contains(int32_t i) const { return begin <= i && i < end; }
  bool operator==(const Range&) const = default;
};

enum class ExpertPlacement : uint8_t { kColumns = 0, kWhole = 1 };

struct ShardOptions {
  int32_t tp = 1;
  // Unset: by columns where a rank's slice is whole 128-blocks, else whole.
  std::optional<ExpertPlacement> experts = std::nullopt;
};

// How a model is cut into tp ranks: decided once by the coordinator, the same for all ranks.
struct ShardPlan {
  int32_t tp = 1;
  ExpertPlacement experts = ExpertPlacement::kColumns;
  bool dense_replicated = false;  // every rank holds and computes the whole dense FFN
  int32_t full_kv_replicas = 1;   // ranks that hold the same kv head
  int32_t window_kv_replicas = 1;
  int32_t vocab_rows = 0;          // rows a rank, vocabulary rounded up to tp * vocab_rows
  std::vector<std::string> notes;  // what is not the plain cut, and why, one sentence each
};

// kInvalidArgument with the numbers when heads and tp do not fit one another, or when an explicit
// choice of experts by columns would cut a 128-block.
Result<ShardPlan> plan_shards(const checkpoint::ModelConfig& config, const ShardOptions& options);

// One rank's part, in units of heads, columns, experts and rows.
struct AttentionShard {
  Range q_heads;
  Range kv_heads;  // at least one; replicated heads appear on several ranks
};
struct RankShard {
  int32_t rank = 0;
  AttentionShard full;
  AttentionShard window;
  // Whole experts held here: all of them when placed by columns. Empty on the last ranks when
  // there are more ranks than whole experts.
  Range experts;
  Range expert_cols;  // columns of moe_intermediate held here: all when placed whole
  Range dense_cols;   // columns of dense_intermediate held here
  Range vocab_rows;   // rows of the padded vocabulary; rows past config.vocab are zero
  const AttentionShard& attention(checkpoint::AttentionKind kind) const {
    return kind == checkpoint::AttentionKind::kFull ? full : window;
  }
};
// CHECKs that the plan is one of plan_shards for this config and 0 <= rank < tp.
RankShard rank_shard(const checkpoint::ModelConfig& config, const ShardPlan& plan, int32_t rank);

// Scales of a matrix fused from several tensors, so that one row of scales covers `rows_per_scale`
// rows of it, whatever the cut: values are copied, never computed.
//
//   values [ceil(num_rows / rows_per_scale), num_cols] f32
struct ExpandedScales {
  int32_t rows_per_scale = 64;
  int32_t num_cols = 0;
  std::vector<float> values;
};

// The largest of 64, 32, 16, 8, 4, 2, 1 that divides every edge a fused [Q | K | V] matrix can have
// at any tp: heads' edges, 128-row blocks' edges, joint blocks' edges. 64 for the released model.
int32_t qkv_rows_per_scale(const checkpoint::AttentionShape& shape);

// A layer's weight_scale_inv tensors as they are stored.
struct QkvScales {
  std::span<const float> q;  // [ceil(num_q_heads * k_dim / 128), num_cols]
  std::span<const float> k;  // [kv_scale_rows(rule, shape).k, num_cols]
  std::span<const float> v;  // [kv_scale_rows(rule, shape).v, num_cols], maybe no rows
  int32_t num_cols = 0;      // ceil(hidden / 128)
};

// The scales of one rank's [Q heads | K heads | V heads] matrix.
ExpandedScales expand_qkv_scales(const checkpoint::AttentionShape& shape, KvScaleRule rule,
                                 const QkvScales& scales, const AttentionShard& shard);

// The same for the fused [gate | up] matrix of rows `cols` of both: 128 when the cut is whole
// blocks, as plan_shards makes it but for an intermediate size that is none and stays uncut.
int32_t gate_up_rows_per_scale(Range cols);

// The scales of that matrix, from the stored ones: [ceil(intermediate / 128), num_cols] each.
ExpandedScales expand_gate_up_scales(std::span<const float> gate, std::span<const float> up,
                                     int32_t num_cols, Range cols);

}  // namespace mimo::parallel
