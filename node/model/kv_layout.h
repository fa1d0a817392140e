#pragma once

#include <array>
#include <cstdint>

#include "base/dtype.h"
#include "checkpoint/model_config.h"
#include "kvcache/kv_spec.h"
#include "parallel/shard.h"

namespace mimo::node {

// One rank's layer groups, by kvcache::KvKind. num_layers is 0 where the model has no layer of a
// kind.
using KvSpecs = std::array<kvcache::KvSpec, kvcache::kNumKvKinds>;

KvSpecs kv_specs(const checkpoint::ModelConfig& config, const parallel::RankShard& shard,
                 int32_t page_tokens, DType k_dtype, DType v_dtype);

inline kvcache::KvKind kv_kind(checkpoint::AttentionKind kind) {
  return kind == checkpoint::AttentionKind::kFull ? kvcache::KvKind::kFull
                                                  : kvcache::KvKind::kWindow;
}

// The most pages that one sequence holds at once in a group while it reads chunks of at most
// `chunk_tokens` and never goes past `positions_max`.
int32_t pages_per_sequence(const kvcache::KvSpec& spec, int32_t chunk_tokens,
                           int32_t positions_max);

}  // namespace mimo::node
