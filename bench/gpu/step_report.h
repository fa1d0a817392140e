#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/gpu/kernel_trace.h"
#include "checkpoint/model_config.h"
#include "parallel/shard.h"

namespace mimo::bench {

// What one rank must at least read in a decode step of `batch` tokens at `context`: weights of the
// experts that a uniform router touches, every other weight once, K and V.
struct StepBytes {
  double attention = 0;  // of one layer: qkv, o_proj
  double kv = 0;         // of one layer
  double ffn = 0;        // of one layer: router and experts, or the dense FFN
  double total() const { return attention + kv + ffn; }
};
StepBytes layer_bytes(const checkpoint::ModelConfig& config, const parallel::RankShard& shard,
                      int32_t layer, int32_t batch, int32_t context);
double head_bytes(const checkpoint::ModelConfig& config, const parallel::RankShard& shard);
double step_bytes(const checkpoint::ModelConfig& config, const parallel::RankShard& shard,
                  int32_t batch, int32_t context);

// One kind of layer in a step that was traced: means over its layers.
struct LayerKindRow {
  std::string kind;  // "full, dense", "window, experts", "embedding", "head, draw"
  int32_t num_layers = 0;
  double us = 0;  // from the end of the kernel before it to the end of its last
  double idle_us = 0;
  double launches = 0;
  double bytes = 0;
};
// kInternal when the trace does not look like one step of this model.
Result<std::vector<LayerKindRow>> layer_kinds(const checkpoint::ModelConfig& config,
                                              const parallel::RankShard& shard,
                                              const std::vector<KernelSpan>& step, int32_t batch,
                                              int32_t context);

// Time by kernel, the most first: what overlaps the kernel before counts for that one.
struct KernelRow {
  std::string name;
  int32_t count = 0;
  double us = 0;
};
std::vector<KernelRow> by_kernel(const std::vector<KernelSpan>& step);

}  // namespace mimo::bench
