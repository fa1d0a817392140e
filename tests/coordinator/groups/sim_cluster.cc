#include "tests/coordinator/groups/sim_cluster.h"

#include <algorithm>

#include "base/check.h"

namespace mimo::coordinator {
namespace {

constexpr StreamId kLeader{0};  // answers of the leader's stream come from here
constexpr int64_t kStepNs = 50'000'000;

}  // namespace

SimCluster::SimCluster(GroupLife::Options options) : options_(options), life_(options) {}

StreamId SimCluster::join(const std::string& id, const Hello& hello) {
  const StreamId stream{next_stream_++};
  Sim& sim = sims_[stream];
  sim.id = id;
  sim.held_key = hello.held_key;
  sim.held_rank = hello.held_rank;
  sim.kv_bytes = hello.kv_bytes;
  sim.hung = hello.hung;
  sim.refusal = hello.refusal;
  heard_ns_[stream] = now_ns_;
  handle(life::Joined{stream,
                      {.worker_id = id,
                       .address = id + ":1",
                       .backend = hello.backend,
                       .last_epoch = hello.last_epoch,
                       .held_key = hello.held_key,
                       .held_rank = hello.held_rank}});
  return stream;
}

void SimCluster::leave(StreamId worker) {
  if (sims_.erase(worker) == 0) return;
  handle(life::Left{worker, unavailable("stream broken")});
}

void SimCluster::lose_leader() {
  if (leader_epoch_ != 0) handle(life::LeaderLost{leader_epoch_, unavailable("stream broken")});
}

void SimCluster::run_until_quiet() {
  while (!answers_.empty()) deliver_one(0);
}

void SimCluster::deliver_one(size_t pick) {
  CHECK_LT(pick, answers_.size());
  const auto [from, event] = answers_[pick];
  answers_.erase(answers_.begin() + static_cast<std::ptrdiff_t>(pick));
  if (from != kLeader && !sims_.contains(from)) return;  // it went before it could answer
  heard_ns_[from] = now_ns_;
  handle(event);
}

void SimCluster::tick(int64_t ns) {
  now_ns_ += ns;
  for (const StreamId stream : connected()) {
    const auto sim = sims_.find(stream);
    if (sim == sims_.end() || sim->second.silent) continue;
    heard_ns_[stream] = now_ns_;
    handle(life::Heard{stream});
  }
  handle(life::Tick{});
}

void SimCluster::advance(int64_t ns) {
  for (int64_t done = 0; done < ns; done += kStepNs) {
    tick(std::min(kStepNs, ns - done));
    run_until_quiet();
  }
}

int32_t SimCluster::rank_of(StreamId worker) const {
  const auto sim = sims_.find(worker);
  return sim == sims_.end() ? -1 : sim->second.rank;
}

std::vector<StreamId> SimCluster::connected() const {
  std::vector<StreamId> all;
  for (const auto& [stream, sim] : sims_) all.push_back(stream);
  return all;
}

void SimCluster::handle(const LifeEvent& event) {
  for (const LifeAction& action : life_.handle(now_ns_, event)) {
    std::visit([&](const auto& a) { act(a); }, action);
  }
  check_invariants();
}

void SimCluster::answer(StreamId worker, LifeEvent event) {
  const Sim& sim = sims_.at(worker);
  if (!sim.silent && !sim.hung) answers_.emplace_back(worker, std::move(event));
}

void SimCluster::act(const life::SendAssign& a) {
  Sim& sim = sims_.at(a.worker);
  CHECK_EQ(sim.assigned, 0);  // at most one assignment
  CHECK(a.epoch > last_epoch_ || (a.epoch == last_epoch_ && a.rank > 0));
  last_epoch_ = a.epoch;
  sim.assigned = a.epoch;
  sim.rank = a.rank;
  if (sim.refusal.code != Code::kOk) {
    answer(a.worker, life::Ended{a.worker, a.epoch, sim.refusal, sim.held_key, sim.held_rank});
    sim.assigned = 0;
    sim.rank = -1;
    return;
  }
  answer(a.worker, life::Prepared{a.worker, a.epoch, sim.id, sim.id + ":2", sim.kv_bytes});
}

void SimCluster::act(const life::SendForm& a) {
  Sim& sim = sims_.at(a.worker);
  CHECK_EQ(sim.assigned, a.epoch);
  CHECK_EQ(a.group_addresses.at(sim.rank), sim.id);
  CHECK_EQ(a.plan_address, a.group_addresses.at(0) + ":2");
  sim.kv_bytes_told = a.kv_bytes;
  const bool kept = sim.held_key == options_.shard_key && sim.held_rank == sim.rank;
  sim.held_key = options_.shard_key;
  sim.held_rank = sim.rank;
  answer(a.worker, life::Ready{a.worker, a.epoch, kept, sim.figures});
}

void SimCluster::act(const life::SendEnd& a) {
  told_.insert({a.worker, a.epoch});
  Sim& sim = sims_.at(a.worker);
  if (sim.assigned != a.epoch) return;  // its own end is on the way already
  sim.assigned = 0;
  sim.rank = -1;
  answer(a.worker, life::Ended{a.worker, a.epoch, Error{Code::kCancelled, a.reason}, sim.held_key,
                               sim.held_rank});
}

void SimCluster::act(const life::SendShutdown& a) { shut_down_.insert(a.worker); }

void SimCluster::act(const life::HangUp& a) {
  hung_up_.insert(a.worker);
  sims_.erase(a.worker);
}

void SimCluster::act(const life::OpenLeader& a) {
  CHECK_EQ(leader_epoch_, 0);
  leader_epoch_ = a.epoch;
  leader_address_ = a.address;
  if (leader_opens_) answers_.emplace_back(kLeader, life::LeaderOpened{a.epoch});
}

void SimCluster::act(const life::StartServing& a) {
  CHECK_EQ(a.epoch, leader_epoch_);
  CHECK_EQ(serving_epoch_, 0);
  serving_epoch_ = a.epoch;
}

void SimCluster::act(const life::CloseLeader& a) {
  CHECK_EQ(a.epoch, leader_epoch_);
  CHECK_EQ(a.served, serving_epoch_ != 0);
  leader_epoch_ = 0;
  if (a.served) ++num_lost_;
  serving_epoch_ = 0;
}

void SimCluster::check_invariants() {
  CHECK_EQ(life_.state() == GroupState::kServing, serving_epoch_ != 0);
  std::set<int32_t> ranks;
  for (const auto& [stream, worker] : life_.workers()) {
    CHECK(sims_.contains(stream));
    if (!worker.is_member()) continue;
    CHECK_EQ(worker.epoch, life_.epoch());
    CHECK(ranks.insert(worker.rank).second);
    CHECK(worker.rank >= 0 && worker.rank < options_.size);
    if (serving_epoch_ != 0) CHECK(worker.phase == WorkerPhase::kReady);
  }
  const bool formed =
      life_.state() != GroupState::kWaiting && life_.state() != GroupState::kDraining;
  CHECK_EQ(ranks.size(), formed ? static_cast<size_t>(options_.size) : 0u);
}

}  // namespace mimo::coordinator
