#pragma once

#include <cstdint>

#include "checkpoint/model_config.h"
#include "parallel/shard.h"

namespace mimo::parallel {

// What one rank's weights take, by part, in the form that a device keeps them: projections as they
// are stored (FP8 with f32 scales, or bf16), qkv scales at qkv_rows_per_scale, router, norms and
// sinks in f32. Allocators' padding is not in it.
struct RankBytes {
  int64_t experts = 0;
  int64_t qkv = 0;
  int64_t o_proj = 0;
  int64_t dense_ffn = 0;
  int64_t embedding = 0;
  int64_t head = 0;
  int64_t routers = 0;          // with their correction biases; every rank's whole
  int64_t norms_and_sinks = 0;  // every rank's whole norms, its own heads' sinks
  int64_t mtp = 0;  // the MTP layers with all their parts; eh_proj is every rank's whole

  int64_t total() const {
    return experts + qkv + o_proj + dense_ffn + embedding + head + routers + norms_and_sinks + mtp;
  }
  bool operator==(const RankBytes&) const = default;
};

// Pure arithmetic on shapes: no file is read. config.num_mtp_layers layers are counted.
RankBytes rank_bytes(const checkpoint::ModelConfig& config, const ShardPlan& plan, int32_t rank);

}  // namespace mimo::parallel
