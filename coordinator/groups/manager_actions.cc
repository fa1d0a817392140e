#include <cstdio>
#include <utility>

#include "base/log.h"
#include "coordinator/groups/manager_impl.h"

// What ManagerImpl does for each action of the life of the group, and what it tells of it.
namespace mimo::coordinator {
namespace {

constexpr int64_t kRequestsMax = 4096;  // that wait for the leader

const char* worker_state_name(const GroupLife& life, const WorkerRecord& worker) {
  switch (worker.phase) {
    case WorkerPhase::kWaiting:
    case WorkerPhase::kEnding:
      return "waiting";
    case WorkerPhase::kPreparing:
    case WorkerPhase::kPrepared:
      return "preparing";
    case WorkerPhase::kLoading:
      return "loading";
    case WorkerPhase::kReady:
      return life.state() == GroupState::kServing ? "serving" : "loading";
  }
  return "?";
}

}  // namespace

void ManagerImpl::feed(const LifeEvent& event) {
  for (const LifeAction& action : life_.handle(clock_.now_ns(), event)) {
    std::visit([this](const auto& a) { act(a); }, action);
  }
}

void ManagerImpl::act(const life::SendAssign& action) {
  v1::CoordinatorMessage message;
  v1::AssignRank& assign = *message.mutable_assign();
  assign = options_.engine;
  assign.set_group("0");
  assign.set_epoch(action.epoch);
  assign.set_rank(action.rank);
  assign.set_size(options_.shard.tp);
  assign.set_model_folder(options_.model_folder);
  assign.set_checkpoint_digest(options_.checkpoint_digest);
  assign.set_tp(options_.shard.tp);
  assign.set_experts(options_.shard.experts == parallel::ExpertPlacement::kWhole ? "whole"
                                                                                 : "columns");
  assign.set_shard_key(shard_key_);
  service_.send(action.worker, std::move(message));
}

void ManagerImpl::act(const life::SendForm& action) {
  v1::CoordinatorMessage message;
  v1::FormGroup& form = *message.mutable_form();
  form.set_epoch(action.epoch);
  for (const std::string& address : action.group_addresses) form.add_group_addresses(address);
  form.set_plan_address(action.plan_address);
  form.set_kv_bytes(action.kv_bytes);
  service_.send(action.worker, std::move(message));
}

void ManagerImpl::act(const life::SendEnd& action) {
  v1::CoordinatorMessage message;
  message.mutable_end()->set_epoch(action.epoch);
  message.mutable_end()->set_reason(action.reason);
  service_.send(action.worker, std::move(message));
}

void ManagerImpl::act(const life::SendShutdown& action) {
  v1::CoordinatorMessage message;
  message.mutable_shutdown();
  service_.send(action.worker, std::move(message));
}

void ManagerImpl::act(const life::HangUp& action) {
  peers_.erase(action.worker);
  service_.hang_up(action.worker, action.reason);
}

void ManagerImpl::act(const life::OpenLeader& action) {
  const int64_t epoch = action.epoch;
  const auto post = [inbox = inbox_](Input input) {
    // Closed: the manager is on its way out and wants to know no more.
    if (!inbox->try_push(std::move(input))) CHECK(inbox->closed());
  };
  opening_ = LeaderLink::open(
      action.address, epoch, kRequestsMax,
      {.on_opened = [post, epoch] { post(life::LeaderOpened{epoch}); },
       .on_events = [gate = gate_,
                     epoch](const v1::LeaderEvents& events) { gate->events(epoch, events); },
       .on_lost =
           [post, epoch](const Error& error, std::shared_ptr<LeaderLink> link) {
             post(LinkDone{{epoch, error}, std::move(link)});
           }});
  ++num_links_;
}

void ManagerImpl::act(const life::StartServing& action) {
  {
    std::lock_guard lock(shared_mutex_);
    serving_ = opening_;
  }
  publish();
  gate_->serving(action.epoch);
}

void ManagerImpl::act(const life::CloseLeader& action) {
  {
    std::lock_guard lock(shared_mutex_);
    serving_.reset();
  }
  if (action.served) {
    publish();
    gate_->lost(action.epoch, action.reason);
  }
  opening_->close();
  opening_.reset();
}

void ManagerImpl::act(const life::LogEvent& action) {
  log_fields(action.level, action.event, action.fields);
}

void ManagerImpl::publish() {
  GroupStatus status;
  status.state = life_.state();
  status.reason = life_.reason();
  status.epoch = life_.epoch();
  status.size = options_.shard.tp;
  const bool serves = status.state == GroupState::kServing;
  if (serves) {
    status.full_pages = life_.figures().full_pages;
    status.window_pages = life_.figures().window_pages;
    status.sequences_max = life_.figures().sequences_max;
  }
  for (const auto& [stream, worker] : life_.workers()) {
    const auto found = peers_.find(stream);
    if (found == peers_.end()) continue;
    const Peer& peer = found->second;
    if (worker.is_member()) status.backend = worker.facts.backend;
    if (serves && worker.is_member() && worker.rank == 0) {
      const bool current = peer.heartbeat.epoch() == status.epoch;
      status.full_pages_free = current ? peer.heartbeat.full_pages_free() : status.full_pages;
      status.window_pages_free = current ? peer.heartbeat.window_pages_free() : status.window_pages;
      status.running = current ? peer.heartbeat.running() : 0;
      status.waiting = current ? peer.heartbeat.waiting() : 0;
      status.steps = current ? peer.heartbeat.steps() : 0;
    }
    v1::WorkerInfo info;
    info.set_worker_id(worker.facts.worker_id);
    info.set_address(worker.facts.address);
    info.set_state(worker_state_name(life_, worker));
    info.set_rank(worker.rank);
    info.set_pid(peer.hello.pid());
    info.set_host(peer.hello.host());
    info.set_metrics_address(peer.hello.metrics_address());
    status.workers.push_back(std::move(info));
  }
  std::lock_guard lock(shared_mutex_);
  status_ = std::move(status);
}

}  // namespace mimo::coordinator
