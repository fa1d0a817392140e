#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "checkpoint/model_config.h"

namespace mimo::parallel {

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
  std::optional<ExpertPlacement> experts;
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
  Range experts;      // whole experts held here: all of them when placed by columns
  Range expert_cols;  // columns of moe_intermediate held here: all when placed whole
  Range dense_cols;   // columns of dense_intermediate held here
  Range vocab_rows;   // rows of the padded vocabulary; rows past config.vocab are zero
  const AttentionShard& attention(checkpoint::AttentionKind kind) const {
    return kind == checkpoint::AttentionKind::kFull ? full : window;
  }
};
RankShard rank_shard(const checkpoint::ModelConfig& config, const ShardPlan& plan, int32_t rank);

// Scales of a fused [K_g | V_g] export or of plain blocks, expanded so that one row of scales
// covers `rows_per_scale` rows of the matrix: exact for every cut at a head's edge.
//
//   scales [num_rows / rows_per_scale, cols of the source scales] f32
//
// rows_per_scale is the largest of 64, 32, 16, 8, 4, 2, 1 that divides every edge (head edges,
// block edges, joint-block edges); 64 for the released model.
struct ExpandedScales {
  int32_t rows_per_scale = 64;
  int32_t num_cols = 0;
  std::vector<float> values;
};

// How a layer's K and V scale rows are to be read.
enum class KvScaleRule : uint8_t {
  kPlain = 0,         // ceil(rows / 128) scale rows each: ordinary 128-row blocks
  kJointPerHead = 1,  // blocks of each kv head's [K | V] rows; the block across the edge is K's
};

// From the scale tensors' row counts (K: nkv * ceil(k_dim/128) rows and not ceil(nkv*k_dim/128)
// means joint). kInvalidArgument naming the counts when neither rule fits. When both fit the counts
// alike (k_dim and v_dim whole 128-blocks), the two rules read the same rows and kPlain is
// answered.
Result<KvScaleRule> kv_scale_rule(const checkpoint::AttentionShape& shape, int64_t k_scale_rows,
                                  int64_t v_scale_rows);

// The scale row of each K row ("from K's tensor, row i") and V row under a rule.
struct ScaleRowRef {
  bool from_v = false;
  int32_t row = 0;
};
ScaleRowRef k_scale_row(KvScaleRule rule, const checkpoint::AttentionShape& shape, int32_t k_row);
ScaleRowRef v_scale_row(KvScaleRule rule, const checkpoint::AttentionShape& shape, int32_t v_row);

}  // namespace mimo::parallel
