#pragma once

#include <cstdint>

#include "base/result.h"
#include "checkpoint/model_config.h"
#include "kernels/ops.h"
#include "kvcache/kv_spec.h"
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

// Sizes of one rank's step buffers, in bytes. T: the limit's rows, or those that a step of decode
// rows is padded to, if that is more.
struct StepBufferSizes {
  int64_t hidden_rows = 0;     // [T, H] activation dtype; two residuals, delta and normed each
  int64_t normed_q = 0;        // normed's FP8 copy and its scales
  int64_t q = 0;               // [T, most q heads * k_dim] activation dtype
  int64_t attention = 0;       // [T, most q heads * v_dim] activation dtype
  int64_t expert_ids = 0;      // [T, K] i32
  int64_t expert_weights = 0;  // [T, K] f32
  int64_t logits_hidden = 0;   // [R, H] activation dtype
  int64_t logits = 0;          // [tp, R, vocabulary rows of a rank] f32
  int64_t step_indices = 0;    // ids, runs, rows that draw or score, changes of the tables; i32
  int64_t page_tables = 0;     // both groups', and the slots' last tokens; i32
  int64_t results = 0;         // [T] DrawResult and their candidates
  int64_t full_rows = 0;       // [kFullRows, vocabulary] f32
  int64_t masks = 0;           // [slots, vocabulary / 32] u32

  int64_t total() const {
    return 4 * hidden_rows + normed_q + q + attention + expert_ids + expert_weights +
           logits_hidden + logits + step_indices + page_tables + results + full_rows + masks;
  }
};
// Rows whose every token's log-probability is taken at once.
constexpr int32_t kFullRows = 8;

// A backend of bf16 activations has an FP8 copy beside what its products read. `decode_rows_max`:
// what the backend pads sequences_max decode rows to; 0: it does not.
StepBufferSizes step_buffer_sizes(const checkpoint::ModelConfig& config,
                                  const parallel::ShardPlan& plan, const parallel::RankShard& shard,
                                  const ModelLimits& limits, DType activation,
                                  int32_t decode_rows_max = 0);

// Entries of a slot's row in a group's page table: the most pages that it holds at once.
int32_t page_table_stride(const kvcache::KvSpec& spec, const ModelLimits& limits);

// The same limits as the operations' backend wants them.
kernels::StepLimits ops_limits(const checkpoint::ModelConfig& config,
                               const parallel::ShardPlan& plan, const parallel::RankShard& shard,
                               const ModelLimits& limits, int32_t decode_rows_max = 0);

}  // namespace mimo::node
