#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/result.h"
#include "mimo/v1/cluster.pb.h"
#include "node/engine/group_executor.h"
#include "node/service/backend.h"
#include "node/service/config.h"
#include "node/service/held_model.h"
#include "node/service/leader_desk.h"
#include "node/service/live_figures.h"
#include "node/service/probe.h"
#include "parallel/group_endpoint.h"
#include "parallel/plan_channel_tcp.h"
#include "parallel/tp_group.h"

namespace mimo::node {

// One epoch of this worker: from the assignment of a rank to the group's end. It has a thread of
// its own from form() on, since forming, loading and following block.
//
// Thread:    the control thread calls; handlers are called from the epoch's thread.
// Lifetime:  the destructor aborts and joins. What it was given outlives it.
class RankEpoch {
 public:
  struct Context {
    const WorkerConfig& config;
    const Backend& backend;
    std::string bind_host;  // of plan channel and group
    LeaderDesk& desk;
    WorkerProbe& probe;
    LiveFigures& figures;
    const Clock& clock;
  };
  struct Handlers {
    std::function<void(v1::RankReady)> on_ready;
    // Once, last, after form(): what is still held comes back.
    std::function<void(const Error& why, std::unique_ptr<HeldModel> held)> on_ended;
  };

  // Reads the checkpoint's headers, opens this rank's ends of the channels, and finds what it can
  // give the pools. What `held` holds and the assignment does not want may go for that.
  static Result<std::unique_ptr<RankEpoch>> prepare(v1::AssignRank assign, const Context& context,
                                                    Handlers handlers,
                                                    std::unique_ptr<HeldModel>& held);
  ~RankEpoch();
  RankEpoch(const RankEpoch&) = delete;
  RankEpoch& operator=(const RankEpoch&) = delete;

  int64_t epoch() const { return assign_.epoch(); }
  v1::RankPrepared prepared() const;
  // Connects, loads what `held` does not have, and serves. Answers at once. `held` may be null.
  void form(v1::FormGroup form, std::unique_ptr<HeldModel> held);
  bool formed() const { return thread_.joinable(); }
  // The epoch ends with this reason, unless it has one already. Answers at once.
  void abort(const Error& why);

 private:
  RankEpoch(v1::AssignRank assign, const Context& context, Handlers handlers);

  void run(const v1::FormGroup& form, std::unique_ptr<HeldModel> held);
  Result<void> connect(const v1::FormGroup& form);
  Result<void> connect_plans(const std::string& plan_address);
  Result<void> load(const v1::FormGroup& form, std::unique_ptr<HeldModel>& held);
  Result<void> lead(HeldModel& held);
  Result<void> follow(HeldModel& held);
  Result<void> run_or_wait(HeldModel& held);
  Engine::Options engine_options(const HeldModel& held) const;
  v1::RankReady ready(const HeldModel& held) const;
  Result<void> check_wanted();
  Error wait_for_end();
  int64_t timeout_ms() const;
  bool leads() const { return assign_.rank() == 0; }

  const v1::AssignRank assign_;
  const Context context_;
  const Handlers handlers_;
  std::unique_ptr<checkpoint::Checkpoint> checkpoint_;
  std::unique_ptr<parallel::GroupEndpoint> endpoint_;
  std::function<void()> abort_forming_;                  // set with the endpoint
  std::unique_ptr<parallel::TcpPlanListener> listener_;  // rank 0
  int64_t kv_bytes_ = 0;  // that this rank can give; 0: the assignment says
  double load_seconds_ = 0;
  bool kept_weights_ = false;

  // abort() comes while the epoch's thread is inside one of these, so they are found under a lock.
  std::mutex mutex_;
  std::condition_variable ended_;
  std::optional<Error> why_;
  std::unique_ptr<parallel::TpGroup> group_;
  std::unique_ptr<parallel::PlanLeader> plan_leader_;
  std::unique_ptr<parallel::PlanFollower> plan_follower_;

  std::thread thread_;
};

}  // namespace mimo::node
