#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/result.h"
#include "checkpoint/checkpoint.h"
#include "kernels/ops.h"
#include "parallel/shard.h"

namespace mimo::node {

// One layer of one rank, in the backend's memory.
struct LayerWeights {
  const float* input_norm = nullptr;  // [H]
  kernels::Linear qkv;                // [Q | K | V] of the rank's heads
  const float* sinks = nullptr;       // [q heads of the rank]; null: the layer has none
  kernels::Linear o_proj;             // [H, q heads of the rank * v_dim]
  const float* ffn_norm = nullptr;    // [H]
  kernels::Linear gate_up;            // dense layers
  kernels::Linear down;
  const float* router = nullptr;       // [E, H], MoE layers
  const float* router_bias = nullptr;  // [E]
  kernels::ExpertWeights experts;
};

// What one rank holds of a checkpoint. MTP layers stay on disk.
struct ModelWeights {
  kernels::Linear embedding;          // [vocabulary rows of the rank, H]
  kernels::Linear head;               // likewise
  const float* final_norm = nullptr;  // [H]
  std::vector<LayerWeights> layers;
  // As handed to the backend, which may keep another form; parallel::rank_bytes() foretells it.
  int64_t loaded_bytes = 0;
};

// Gives a rank its weights: a checkpoint's, or a bench's random ones.
using WeightLoader =
    std::function<Result<ModelWeights>(const parallel::RankShard& shard, kernels::Ops& ops)>;

struct LoadOptions {
  int32_t num_threads = 2;  // that read and cut; the backend is fed by the caller's thread
  int64_t bytes_total = 0;  // for the log's progress
  int64_t progress_ns = 10'000'000'000;  // between two lines of the log
};

// Reads, cuts and hands over matrix by matrix: beside the backend's memory at most
// num_threads + 1 matrices are in memory at once. Errors name the tensor.
Result<ModelWeights> load_weights(const checkpoint::Checkpoint& checkpoint,
                                  const parallel::RankShard& shard, kernels::Ops& ops,
                                  const LoadOptions& options);

}  // namespace mimo::node
