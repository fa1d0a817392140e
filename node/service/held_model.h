#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "checkpoint/checkpoint.h"
#include "grammar/token_rules.h"
#include "kernels/ops.h"
#include "mimo/v1/cluster.pb.h"
#include "node/model/model.h"
#include "node/model/rank.h"
#include "node/service/backend.h"
#include "node/service/config.h"

namespace mimo::node {

// A loaded rank: all of a worker that outlives an epoch. Weights and pools stay in memory while no
// group has them.
//
// Thread: whoever holds it; it wanders between the control thread and the epoch's.
struct HeldModel {
  std::string shard_key;
  int32_t shard_rank = 0;
  std::string settings;  // of the assignment that it was loaded for
  int64_t kv_bytes = 0;  // the pools' budget
  std::unique_ptr<kernels::Ops> ops;
  std::unique_ptr<Model> model;
  // Null where there is no tokenizer. Shared with the leader's desk, whose checks may outlive this.
  std::shared_ptr<grammar::RuleSource> rules;
  std::unique_ptr<Rank> rank;  // null until the first group
};

// The checkpoint that the assignment means; kFailedPrecondition when its digest is another.
Result<std::unique_ptr<checkpoint::Checkpoint>> open_checkpoint(const v1::AssignRank& assign);

// True when `held` can serve the assignment as it is, for the same pools' budget: the same shard
// and limits.
bool fits(const HeldModel& held, const v1::AssignRank& assign);

// What this rank can give both pools, where the assignment leaves that open: what `held` gives, if
// it fits; on a GPU what its memory has left, for which a `held` that does not fit goes; on the CPU
// a fixed amount.
Result<int64_t> find_kv_bytes(const checkpoint::Checkpoint& checkpoint,
                              const v1::AssignRank& assign, const WorkerConfig& config,
                              const Backend& backend, std::unique_ptr<HeldModel>& held);

// Loads weights and allocates pools and buffers.
Result<std::unique_ptr<HeldModel>> load_model(const checkpoint::Checkpoint& checkpoint,
                                              const v1::AssignRank& assign, int64_t kv_bytes,
                                              const WorkerConfig& config, const Backend& backend);

// Waits until nothing that was queued runs any more, and drops what was recorded.
void settle(HeldModel& held);

}  // namespace mimo::node
