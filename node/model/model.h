#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "checkpoint/checkpoint.h"
#include "kernels/ops.h"
#include "node/model/index_buffer.h"
#include "node/model/kv_layout.h"
#include "node/model/model_limits.h"
#include "node/model/weights.h"
#include "parallel/shard.h"
#include "parallel/tp_group.h"

namespace mimo::node {

// The rows of one forward pass, in host memory. Run s has rows [row_begin[s], row_begin[s + 1]),
// whose last stands at position context[s] - 1. Kept and refilled: a step grows nothing.
struct StepRows {
  // Token j of run s is in page ids[s * stride + j / page_tokens - first_page[s]].
  struct Pages {
    std::vector<int32_t> ids;         // [S, stride]
    std::vector<int32_t> first_page;  // [S]
    int32_t stride = 0;
  };
  std::vector<int32_t> ids;                       // [T]
  std::vector<int32_t> row_run;                   // [T]
  std::vector<int32_t> row_begin;                 // [S + 1]
  std::vector<int32_t> context;                   // [S]
  std::array<Pages, kvcache::kNumKvKinds> pages;  // by kvcache::KvKind; unused for an absent kind

  int32_t num_tokens() const { return static_cast<int32_t>(ids.size()); }
  int32_t num_runs() const { return static_cast<int32_t>(context.size()); }
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
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const checkpoint::ModelConfig& config() const { return config_; }
  const Options& options() const { return options_; }
  const KvSpecs& kv_specs() const { return specs_; }
  kernels::Ops& ops() { return ops_; }
  int64_t loaded_bytes() const { return weights_.loaded_bytes; }

  // Writes the rows' K and V and leaves their final hidden states for logits(). CHECKs that the
  // rows fit the limits. An error is the group's.
  Result<void> forward(const StepRows& rows, parallel::TpGroup& group);
  // Logits of rows of the last forward(), at most limits.logits_rows_max; good until the next call.
  Result<Logits> logits(std::span<const int32_t> rows, parallel::TpGroup& group);

 private:
  struct Buffers {
    void* residual = nullptr;
    void* delta = nullptr;
    void* normed = nullptr;
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
  // A step's arrays on the device.
  struct StepView {
    const int32_t* ids = nullptr;
    kernels::Runs runs;
    struct Pages {
      const int32_t* ids = nullptr;
      const int32_t* first_page = nullptr;
      int32_t stride = 0;
    };
    std::array<Pages, kvcache::kNumKvKinds> pages;
  };

  Model(const checkpoint::ModelConfig& config, kernels::Ops& ops, const Options& options);
  Result<void> allocate();
  Result<void> allocate_pools();
  StepView upload(const StepRows& rows);
  kernels::PagedKv paged_kv(const StepView& step, kvcache::KvKind kind, int32_t group_layer) const;
  kernels::Rows normed_rows() const;
  void norm(const float* weight, bool add_delta, int32_t num_tokens);
  void attend(int32_t layer, const StepView& step);
  void feed_forward(int32_t layer, int32_t num_tokens);
  // delta, summed over the ranks.
  Result<void> reduce(void* rows, int32_t num_tokens, parallel::TpGroup& group);

  const checkpoint::ModelConfig config_;
  kernels::Ops& ops_;
  const Options options_;
  const parallel::RankShard shard_;
  const KvSpecs specs_;
  std::vector<int32_t> group_layer_;  // [num_layers] index within the layer's group
  ModelWeights weights_;
  Buffers buffers_;
  std::array<Pool, kvcache::kNumKvKinds> pools_;
  IndexBuffer step_indices_;
  IndexBuffer row_indices_;
};

}  // namespace mimo::node
