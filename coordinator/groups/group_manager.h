#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "checkpoint/model_config.h"
#include "coordinator/groups/group_state.h"
#include "coordinator/groups/leader_client.h"
#include "mimo/v1/cluster.pb.h"
#include "mimo/v1/inference.pb.h"
#include "parallel/shard.h"

namespace mimo::coordinator {

// A snapshot for GetServerInfo, GetLoad, health and metrics.
struct GroupStatus {
  GroupState state = GroupState::kWaiting;
  std::string reason;  // why it does not serve: "2 of 4 workers have joined"
  int64_t epoch = 0;
  int32_t size = 0;
  std::string backend;
  int32_t full_pages = 0;
  int32_t window_pages = 0;
  int32_t full_pages_free = 0;
  int32_t window_pages_free = 0;
  int32_t running = 0;
  int32_t waiting = 0;
  int32_t sequences_max = 0;
  int64_t steps = 0;
  std::vector<v1::WorkerInfo> workers;
};

// The registry of workers and the life of the group: workers join, are assigned (group, epoch,
// rank, shard plan), prepare, connect, load and serve; a lost rank ends the epoch, the others keep
// their weights, and the group forms again as soon as enough workers are there.
//
// Thread:    one thread owns all state; gRPC callbacks post to it. status() reads a published
// snapshot. Lifetime:  create() starts the Registry service; the destructor stops it. Invariant:
// epochs only grow, also past those that joining workers report.
class GroupManager : public LeaderClient {
 public:
  struct Options {
    std::string cluster_listen = "127.0.0.1:0";  // where workers join
    std::string model_folder;
    uint64_t checkpoint_digest = 0;
    parallel::ShardPlan shard;
    // Everything of AssignRank that is configuration (page_tokens, kv_bytes, limits, mode); the
    // manager fills group, epoch, rank, size and shard fields.
    v1::AssignRank engine;
    double heartbeat_interval_s = 0.5;
    double heartbeat_timeout_s = 5.0;
    double form_timeout_s = 30.0;    // assign -> prepared, form -> connected
    double load_timeout_s = 3600.0;  // form -> ready
  };

  static Result<std::unique_ptr<GroupManager>> create(Options options, LeaderSink sink);

  // host:port with the port that was bound.
  virtual std::string cluster_address() const = 0;
  virtual GroupStatus status() const = 0;
  // Tells all workers to exit after this; used by `mimo serve` on its way out.
  virtual void shutdown_workers() = 0;
};

}  // namespace mimo::coordinator
