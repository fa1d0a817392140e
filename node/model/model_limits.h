#pragma once

#include <cstdint>

#include "base/result.h"
#include "checkpoint/model_config.h"
#include "kernels/ops.h"
#include "parallel/shard.h"

namespace mimo::node {

// The largest step that will come, and how long a sequence may grow: what sizes everything that is
// allocated at start.
struct ModelLimits {
  int32_t tokens_max = 2048;        // rows of a step
  int32_t sequences_max = 64;       // running at once: slots, and runs of a step
  int32_t logits_rows_max = 64;     // rows of one pass through the head; more rows, more passes
  int32_t prefill_chunk_max = 512;  // prompt tokens of one sequence a step
  int32_t positions_max = 0;        // prompt + outputs of one sequence
  int32_t page_tokens = 64;         // 16, 32, 64 or 128

  Result<void> validate(const checkpoint::ModelConfig& config) const;
};

// Sizes of one rank's step buffers, in bytes.
struct StepBufferSizes {
  int64_t hidden_rows = 0;     // [T, H] activation dtype; residual, delta and normed each
  int64_t q = 0;               // [T, most q heads * k_dim] activation dtype
  int64_t attention = 0;       // [T, most q heads * v_dim] activation dtype
  int64_t expert_ids = 0;      // [T, K] i32
  int64_t expert_weights = 0;  // [T, K] f32
  int64_t logits_hidden = 0;   // [R, H] activation dtype
  int64_t logits = 0;          // [tp, R, vocabulary rows of a rank] f32
  int64_t step_indices = 0;    // ids, runs and page tables, i32
  int64_t logits_indices = 0;  // rows; draws' rows, slots, positions; i32

  int64_t total() const {
    return 3 * hidden_rows + q + attention + expert_ids + expert_weights + logits_hidden + logits +
           step_indices + logits_indices;
  }
};
StepBufferSizes step_buffer_sizes(const checkpoint::ModelConfig& config,
                                  const parallel::ShardPlan& plan, const parallel::RankShard& shard,
                                  const ModelLimits& limits, DType activation);

// The same limits as the operations' backend wants them.
kernels::StepLimits ops_limits(const checkpoint::ModelConfig& config,
                               const parallel::ShardPlan& plan, const parallel::RankShard& shard,
                               const ModelLimits& limits);

}  // namespace mimo::node
