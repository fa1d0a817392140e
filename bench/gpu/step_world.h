#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "checkpoint/model_config.h"
#include "kernels/cuda/cuda_ops.h"
#include "node/model/model.h"
#include "node/model/rank.h"
#include "parallel/tp_group.h"

namespace mimo::bench {

// One rank of the released model with random weights, ready to run plans.
class StepWorld {
 public:
  struct Options {
    int32_t device = 0;
    int32_t tp = 4;          // how the model is cut
    int32_t rank = 0;        // which part is here
    int32_t num_layers = 0;  // the first so many; 0 = all
    int32_t batch_max = 256;
    int32_t context_max = 4096;
    int32_t prefill_max = 8192;
    int32_t steps_max = 64;  // decode steps after admit()
    bool record = true;      // decode steps as graphs
    bool batch_invariant = false;
  };

  // `group` may be null: then the other ranks are not there, and collectives do nothing.
  static Result<std::unique_ptr<StepWorld>> create(const Options& options,
                                                   parallel::TpGroup* group);

  kernels::cuda::CudaOps& ops() { return *ops_; }
  node::Rank& rank() { return *rank_; }
  const checkpoint::ModelConfig& config() const { return config_; }
  const parallel::RankShard& shard() const { return shard_; }
  const Options& options() const { return options_; }

  // `batch` sequences with `context` tokens each, their K and V random, one token still to be read.
  Result<void> admit(int32_t batch, int32_t context);
  Result<void> release_all();
  // Milliseconds a step, with the next step queued while one runs. admit() before.
  Result<double> decode_ms(int32_t num_steps, int32_t warm_steps = 3);
  // Milliseconds of one step that reads a prompt of `num_tokens`.
  Result<double> prefill_ms(int32_t num_tokens);

 private:
  StepWorld(const Options& options, checkpoint::ModelConfig config, parallel::ShardPlan plan);
  Result<void> build(parallel::TpGroup* group);
  node::StepPlan next_plan();
  void grant(node::StepPlan& plan, int32_t slot, kvcache::KvKind kind, int32_t from, int32_t to);
  void take_back(node::StepPlan& plan, int32_t slot, const kvcache::KvSpec& spec, int32_t first);
  void grow(node::StepPlan& plan);
  Result<node::StepResult> run(const node::StepPlan& plan);

  const Options options_;
  const checkpoint::ModelConfig config_;
  const parallel::ShardPlan plan_;
  const parallel::RankShard shard_;
  std::unique_ptr<parallel::TpGroup> silent_group_;
  std::unique_ptr<kernels::cuda::CudaOps> ops_;
  std::unique_ptr<node::Model> model_;
  std::unique_ptr<node::Rank> rank_;
  int64_t step_ = 0;
  int32_t batch_ = 0;
  int32_t num_read_ = 0;  // of every sequence, when the next step begins
  std::array<std::vector<PageId>, kvcache::kNumKvKinds> free_;
  std::array<std::vector<std::vector<PageId>>, kvcache::kNumKvKinds> held_;  // [slot]
};

}  // namespace mimo::bench
