#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "checkpoint/model_config.h"
#include "node/model/kv_layout.h"
#include "node/model/model_limits.h"
#include "parallel/shard.h"

namespace mimo::node {

// Bytes that one rank takes, and the pages that they buy, before anything is loaded. Ranks may
// differ only in weights, and the fullest rank is meant; pools are the same on all.
struct MemoryPlan {
  int64_t weight_bytes = 0;     // as the checkpoint stores them; a backend may keep another form
  int64_t workspace_bytes = 0;  // the model's step buffers; the backend's own come on top
  int64_t k_bytes = 0;
  int64_t v_bytes = 0;
  int64_t kv_budget_bytes = 0;
  KvSpecs specs;
  std::array<int32_t, kvcache::kNumKvKinds> num_pages = {0, 0};  // by kvcache::KvKind
  // Sequences of positions_max tokens that fit at once, for each group.
  std::array<int32_t, kvcache::kNumKvKinds> longest_sequences = {0, 0};
};

struct MemoryOptions {
  ModelLimits limits;
  int64_t kv_budget_bytes = 0;
  DType activation = DType::kBf16;
  int32_t decode_rows_max = 0;  // as step_buffer_sizes()
  DType k_dtype = DType::kBf16;
  DType v_dtype = DType::kBf16;
};

// The window group gets what sequences_max sequences can ever hold, but at most half of the budget
// where there is a full group too, which gets the rest. kResourceExhausted, with the figures, when
// a group would not get a page, or the window group not one sequence's.
Result<MemoryPlan> plan_memory(const checkpoint::ModelConfig& config,
                               const parallel::ShardPlan& plan, const MemoryOptions& options);

// One line a purpose, with bytes and what they hold.
std::string to_string(const MemoryPlan& plan);

// Bytes of what load_weights() loads for one rank: parallel::rank_bytes() without MTP.
int64_t resident_weight_bytes(const checkpoint::ModelConfig& config,
                              const parallel::ShardPlan& plan, int32_t rank);

}  // namespace mimo::node
