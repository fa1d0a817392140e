#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "checkpoint/checkpoint.h"
#include "kernels/ops.h"
#include "node/model/kv_layout.h"
#include "node/model/model_limits.h"
#include "node/model/weights.h"
#include "parallel/shard.h"
#include "parallel/tp_group.h"

namespace mimo::node {

// The rows of one forward pass; pointers in the backend's memory.
struct StepRows {
  const int32_t* ids = nullptr;  // [T]; ~slot: what was drawn last for the slot
  kernels::Runs runs;            // `slot` names the page tables' rows
};

// Where every slot's pages stand, in the backend's memory; changed with Ops::scatter().
struct PageTables {
  int32_t* entries = nullptr;
  struct Group {
    int64_t begin = 0;   // its first entry
    int32_t stride = 0;  // entries a slot; 0: the model has no such layers
  };
  std::array<Group, kvcache::kNumKvKinds> groups;  // by kvcache::KvKind

  // The entry of a slot's logical page.
  int32_t place(kvcache::KvKind kind, SlotId slot, int32_t page) const {
    const Group& group = groups[static_cast<size_t>(kind)];
    return static_cast<int32_t>(group.begin + int64_t{slot.value} * group.stride +
                                page % group.stride);
  }
};

// Logits of some rows, in the backend's memory.
struct Logits {
  const float* values = nullptr;  // [num_shards, num_rows, shard_cols]
  int32_t num_shards = 1;
  int32_t num_rows = 0;
  int32_t shard_cols = 0;
};

// One rank's forward pass: the whole model as a short list of operations over one backend and one
// group. All memory is allocated by create().
//
// Thread:    one.
// Lifetime:  `ops` outlives it; the checkpoint is not needed after create().
class Model {
 public:
  struct Options {
    parallel::ShardPlan plan;
    int32_t rank = 0;
    ModelLimits limits;
    // Pages of each layer group's pools, by kvcache::KvKind; > 0 where the model has such layers.
    std::array<int32_t, kvcache::kNumKvKinds> num_pages = {0, 0};
    std::optional<DType> k_dtype;  // unset: the backend's cache_dtype()
    std::optional<DType> v_dtype;
    LoadOptions load;
  };

  static Result<std::unique_ptr<Model>> create(const checkpoint::Checkpoint& checkpoint,
                                               kernels::Ops& ops, const Options& options);
  // The same with weights from elsewhere; options.load is not used.
  static Result<std::unique_ptr<Model>> create(const checkpoint::ModelConfig& config,
                                               kernels::Ops& ops, const Options& options,
                                               const WeightLoader& load_weights);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const checkpoint::ModelConfig& config() const { return config_; }
  const Options& options() const { return options_; }
  const KvSpecs& kv_specs() const { return specs_; }
  kernels::Ops& ops() { return ops_; }
  int64_t loaded_bytes() const { return weights_.loaded_bytes; }
  const PageTables& page_tables() const { return tables_; }
  int32_t* last_tokens() { return last_tokens_; }  // [sequences_max]
  // Runs that a step may have, and rows, with what decode steps are padded to.
  int32_t runs_max() const { return runs_max_; }
  int32_t rows_max() const { return std::max(runs_max_, options_.limits.tokens_max); }
  StepBufferSizes buffer_sizes() const;

  // Queues what writes the rows' K and V and leaves their final hidden states for logits(). CHECKs
  // that the rows fit the limits. An error is the group's.
  Result<void> forward(const StepRows& rows, parallel::TpGroup& group);
  // Queues the logits of rows of the last forward(), at most limits.logits_rows_max; good until the
  // next call. `rows` is the backend's memory.
  Result<Logits> logits(const int32_t* rows, int32_t num_rows, parallel::TpGroup& group);

 private:
  struct Buffers {
    void* residual = nullptr;
    void* spare = nullptr;  // where the next residual goes
    void* delta = nullptr;
    kernels::Rows normed;
    void* q = nullptr;
    void* attention = nullptr;
    int32_t* expert_ids = nullptr;
    float* expert_weights = nullptr;
    void* logits_hidden = nullptr;
    float* logits = nullptr;
  };
  struct Pool {
    uint8_t* k = nullptr;
    uint8_t* v = nullptr;
  };
  Model(const checkpoint::ModelConfig& config, kernels::Ops& ops, const Options& options);
  Result<void> allocate();
  Result<void> allocate_pools();
  Result<void> allocate_tables(int64_t bytes);
  kernels::PagedKv paged_kv(kvcache::KvKind kind, int32_t group_layer) const;
  void norm(const float* weight, bool add_delta, int32_t num_tokens);
  void attend(int32_t layer, const kernels::Runs& runs);
  void feed_forward(int32_t layer, const kernels::Runs& runs);
  // delta, summed over the ranks.
  Result<void> reduce(void* rows, int32_t num_tokens, parallel::TpGroup& group);

  const checkpoint::ModelConfig config_;
  kernels::Ops& ops_;
  const Options options_;
  const parallel::RankShard shard_;
  const KvSpecs specs_;
  const int32_t runs_max_;
  std::vector<int32_t> group_layer_;  // [num_layers] index within the layer's group
  ModelWeights weights_;
  Buffers buffers_;
  std::array<Pool, kvcache::kNumKvKinds> pools_;
  PageTables tables_;
  int32_t* last_tokens_ = nullptr;
};

}  // namespace mimo::node
