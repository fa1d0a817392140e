#include "coordinator/groups/group_life.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/check.h"

namespace mimo::coordinator {
namespace {

// Leaves room for more epochs than a group can ever see.
constexpr int64_t kEpochMax = int64_t{1} << 62;

std::string seconds(int64_t ns) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", static_cast<double>(ns) * 1e-9);
  return text;
}

// The worker itself is to blame, not another one's loss.
bool own_fault(Code code) {
  return code != Code::kOk && code != Code::kUnavailable && code != Code::kCancelled &&
         code != Code::kDeadlineExceeded && code != Code::kAborted;
}

std::string rank_name(const WorkerRecord& worker) {
  return "rank " + std::to_string(worker.rank) + " (worker " + worker.facts.worker_id + ")";
}

}  // namespace

const char* group_state_name(GroupState state) {
  switch (state) {
    case GroupState::kWaiting:
      return "waiting";
    case GroupState::kPreparing:
      return "preparing";
    case GroupState::kLoading:
      return "loading";
    case GroupState::kServing:
      return "serving";
    case GroupState::kDraining:
      return "draining";
  }
  return "?";
}

GroupLife::GroupLife(Options options) : options_(std::move(options)) {
  CHECK_GT(options_.size, 0);
  reason_ = "0 of " + std::to_string(options_.size) + " workers have joined";
}

std::vector<LifeAction> GroupLife::handle(int64_t now_ns, const LifeEvent& event) {
  now_ns_ = now_ns;
  actions_.clear();
  std::visit([&](const auto& e) { on(e); }, event);
  if (state_ == GroupState::kWaiting) try_form();
  return std::exchange(actions_, {});
}

void GroupLife::on(const life::Joined& e) {
  const WorkerFacts& facts = e.facts;
  CHECK(!workers_.contains(e.worker));
  if (facts.worker_id.empty() || facts.last_epoch < 0 || facts.last_epoch > kEpochMax) {
    Error error = invalid_argument("hello: worker_id \"" + facts.worker_id + "\", last_epoch " +
                                   std::to_string(facts.last_epoch) +
                                   "; expected a name and an epoch from 0 to 2^62");
    log(LogLevel::kWarning, "worker_refused", {{"reason", error.message}});
    actions_.emplace_back(life::HangUp{e.worker, std::move(error)});
    return;
  }
  const auto same = std::find_if(workers_.begin(), workers_.end(), [&](const auto& entry) {
    return entry.second.facts.worker_id == facts.worker_id;
  });
  if (same != workers_.end()) {
    lose(same->first, unavailable("worker " + facts.worker_id + " has joined again"), true);
  }
  WorkerRecord& worker = workers_[e.worker];
  worker.stream = e.worker;
  worker.facts = facts;
  worker.heard_ns = worker.since_ns = now_ns_;
  highest_epoch_ = std::max(highest_epoch_, facts.last_epoch);
  log(LogLevel::kInfo, "worker_joined",
      {{"worker", facts.worker_id},
       {"address", facts.address},
       {"backend", facts.backend},
       {"last_epoch", facts.last_epoch},
       {"held_shard", facts.held_key},
       {"held_rank", facts.held_rank}});
  if (state_ == GroupState::kDraining) actions_.emplace_back(life::SendShutdown{e.worker});
}

void GroupLife::on(const life::Prepared& e) {
  WorkerRecord* worker = member(e.worker, e.epoch, WorkerPhase::kPreparing);
  if (worker == nullptr) return;
  worker->group_address = e.group_address;
  worker->plan_address = e.plan_address;
  worker->kv_bytes = e.kv_bytes;
  enter(*worker, WorkerPhase::kPrepared);
  if (all_members_are(WorkerPhase::kPrepared)) all_prepared();
}

void GroupLife::all_prepared() {
  const std::vector<WorkerRecord*> ranks = members();
  CHECK_EQ(static_cast<int32_t>(ranks.size()), options_.size);
  std::vector<std::string> addresses;
  int64_t kv_bytes = ranks.front()->kv_bytes;
  for (const WorkerRecord* rank : ranks) {
    addresses.push_back(rank->group_address);
    kv_bytes = std::min(kv_bytes, rank->kv_bytes);
  }
  for (WorkerRecord* rank : ranks) {
    enter(*rank, WorkerPhase::kLoading);
    actions_.emplace_back(
        life::SendForm{rank->stream, epoch_, addresses, ranks.front()->plan_address, kv_bytes});
  }
  state_ = GroupState::kLoading;
  since_ns_ = now_ns_;
  say("the group's ranks load");
}

void GroupLife::on(const life::Ready& e) {
  WorkerRecord* worker = member(e.worker, e.epoch, WorkerPhase::kLoading);
  if (worker == nullptr) return;
  worker->figures = e.figures;
  worker->facts.held_key = options_.shard_key;
  worker->facts.held_rank = worker->rank;
  enter(*worker, WorkerPhase::kReady);
  log(LogLevel::kInfo, "rank_ready",
      {{"epoch", epoch_},
       {"rank", worker->rank},
       {"worker", worker->facts.worker_id},
       {"kept_weights", e.kept_weights},
       {"seconds", static_cast<double>(now_ns_ - since_ns_) * 1e-9}});
  if (all_members_are(WorkerPhase::kReady)) all_ready();
}

void GroupLife::all_ready() {
  const std::vector<WorkerRecord*> ranks = members();
  for (const WorkerRecord* rank : ranks) {
    const RankFigures &got = rank->figures, &expected = ranks.front()->figures;
    if (got == expected) continue;
    const auto text = [](const RankFigures& f) {
      return std::to_string(f.full_pages) + " full pages, " + std::to_string(f.window_pages) +
             " window pages, " + std::to_string(f.sequences_max) + " sequences";
    };
    end_epoch(
        internal_error(rank_name(*rank) + " has " + text(got) + "; rank 0 has " + text(expected)));
    return;
  }
  figures_ = ranks.front()->figures;
  leader_open_ = true;
  leader_since_ns_ = now_ns_;
  say("the leader's stream opens");
  actions_.emplace_back(life::OpenLeader{epoch_, ranks.front()->facts.address});
}

void GroupLife::on(const life::LeaderOpened& e) {
  if (!leader_open_ || e.epoch != epoch_ || state_ != GroupState::kLoading) return;
  state_ = GroupState::kServing;
  since_ns_ = now_ns_;
  failed_forms_ = 0;
  for (WorkerRecord* rank : members()) rank->failures = 0;
  reason_.clear();
  last_end_.clear();
  actions_.emplace_back(life::StartServing{epoch_});
  log(LogLevel::kInfo, "group_serves", {{"epoch", epoch_}, {"size", options_.size}});
}

void GroupLife::on(const life::LeaderLost& e) {
  if (!leader_open_ || e.epoch != epoch_) return;
  end_epoch(e.error.with_context("the leader's stream"));
}

void GroupLife::on(const life::Ended& e) {
  WorkerRecord* worker = find(e.worker);
  if (worker == nullptr) return;
  worker->heard_ns = now_ns_;
  if (worker->phase == WorkerPhase::kWaiting || worker->epoch != e.epoch) return;
  worker->facts.held_key = e.held_key;
  worker->facts.held_rank = e.held_rank;
  const bool was_member = worker->is_member();
  const Error error = e.error.with_context(rank_name(*worker));
  enter(*worker, WorkerPhase::kWaiting);
  worker->rank = -1;
  if (!was_member) return;
  if (own_fault(e.error.code)) ++worker->failures;
  end_epoch(error);
}

void GroupLife::on(const life::Heard& e) {
  if (WorkerRecord* worker = find(e.worker)) worker->heard_ns = now_ns_;
}

void GroupLife::on(const life::Left& e) { lose(e.worker, e.error, false); }

void GroupLife::on(const life::Tick&) { check_deadlines(); }

void GroupLife::on(const life::ShutDown&) {
  if (state_ == GroupState::kDraining) return;
  if (state_ != GroupState::kWaiting) end_epoch(unavailable("the coordinator shuts down"));
  state_ = GroupState::kDraining;
  say("the coordinator shuts down");
  for (const auto& [stream, worker] : workers_) {
    actions_.emplace_back(life::SendShutdown{stream});
  }
}

// A worker that is late or silent is hung up on: what it still does belongs to no group, and it may
// join anew.
void GroupLife::check_deadlines() {
  std::vector<std::pair<StreamId, Error>> late;
  for (const auto& [stream, worker] : workers_) {
    const int64_t in_phase = now_ns_ - worker.since_ns;
    const auto check = [&](WorkerPhase phase, int64_t timeout_ns, const char* what) {
      if (worker.phase != phase || in_phase <= timeout_ns) return;
      late.emplace_back(stream, Error{Code::kDeadlineExceeded,
                                      std::string(what) + " within " + seconds(timeout_ns)});
    };
    if (now_ns_ - worker.heard_ns > options_.heartbeat_timeout_ns) {
      late.emplace_back(stream,
                        unavailable("no heartbeat for " + seconds(options_.heartbeat_timeout_ns)));
      continue;
    }
    check(WorkerPhase::kPreparing, options_.form_timeout_ns, "not prepared");
    check(WorkerPhase::kLoading, options_.load_timeout_ns, "not ready");
    check(WorkerPhase::kEnding, options_.form_timeout_ns, "its epoch did not end");
  }
  for (const auto& [stream, error] : late) lose(stream, error, true);
  if (leader_open_ && state_ == GroupState::kLoading &&
      now_ns_ - leader_since_ns_ > options_.form_timeout_ns) {
    end_epoch({Code::kDeadlineExceeded,
               "the leader's stream did not open within " + seconds(options_.form_timeout_ns)});
  }
}

void GroupLife::lose(StreamId stream, const Error& error, bool hang_up) {
  const auto entry = workers_.find(stream);
  if (entry == workers_.end()) return;
  const WorkerRecord worker = std::move(entry->second);
  workers_.erase(entry);
  if (hang_up) actions_.emplace_back(life::HangUp{stream, error});
  log(LogLevel::kWarning, "worker_lost",
      {{"worker", worker.facts.worker_id}, {"rank", worker.rank}, {"reason", error.message}});
  if (worker.is_member()) {
    end_epoch(unavailable(rank_name(worker) + " is lost: " + error.message));
  }
}

// The leader's stream goes first: whoever waits for tokens learns of the loss at once.
void GroupLife::end_epoch(const Error& error) {
  const bool served = state_ == GroupState::kServing;
  if (leader_open_) actions_.emplace_back(life::CloseLeader{epoch_, served, error});
  leader_open_ = false;
  for (WorkerRecord* rank : members()) {
    enter(*rank, WorkerPhase::kEnding);
    actions_.emplace_back(life::SendEnd{rank->stream, epoch_, error.message});
  }
  log(LogLevel::kWarning, "epoch_ended",
      {{"epoch", epoch_}, {"served", served}, {"reason", error.to_string()}});
  if (state_ == GroupState::kDraining) return;
  state_ = GroupState::kWaiting;
  last_end_ = error.message;
  say("the group forms again");
  since_ns_ = retry_at_ns_ = now_ns_;
  if (served) return;
  const int64_t doubled = options_.retry_min_ns << std::min(failed_forms_, 10);
  retry_at_ns_ += std::min(doubled, options_.retry_max_ns);
  ++failed_forms_;
}

std::vector<StreamId> GroupLife::choose() {
  std::map<std::string, std::vector<const WorkerRecord*>> by_backend;
  size_t most = 0;
  for (const auto& [stream, worker] : workers_) {
    if (worker.phase != WorkerPhase::kWaiting) continue;
    auto& list = by_backend[worker.facts.backend];
    list.push_back(&worker);
    most = std::max(most, list.size());
  }
  const auto size = static_cast<size_t>(options_.size);
  for (auto& [backend, list] : by_backend) {
    if (list.size() < size) continue;
    // Those without faults first; among equals the order of joining (streams only grow).
    std::stable_sort(list.begin(), list.end(),
                     [](const auto* a, const auto* b) { return a->failures < b->failures; });
    const auto holds = [&](const WorkerRecord* worker, int32_t rank) {
      return worker->failures == 0 && worker->facts.held_rank == rank &&
             worker->facts.held_key == options_.shard_key;
    };
    std::vector<StreamId> ranks(size, StreamId{-1});
    const auto take = [&](auto wanted) {
      for (int32_t rank = 0; rank < options_.size; ++rank) {
        if (ranks[rank].value >= 0) continue;
        const auto at = std::find_if(list.begin(), list.end(),
                                     [&](const WorkerRecord* w) { return wanted(w, rank); });
        if (at == list.end()) continue;
        ranks[rank] = (*at)->stream;
        list.erase(at);
      }
    };
    take(holds);
    take([](const WorkerRecord*, int32_t) { return true; });
    return ranks;
  }
  size_t waiting = 0;
  std::string kinds;
  for (const auto& [backend, list] : by_backend) {
    waiting += list.size();
    kinds += (kinds.empty() ? "" : ", ") + std::to_string(list.size()) + " " + backend;
  }
  if (waiting >= size) {
    say("the workers that wait have unlike backends (" + kinds + "); a group needs " +
        std::to_string(size) + " of one");
  } else if (workers_.size() < size || retry_at_ns_ == 0) {
    say(std::to_string(most) + " of " + std::to_string(size) + " workers have joined");
  }
  return {};
}

void GroupLife::try_form() {
  const std::vector<StreamId> ranks = choose();
  if (ranks.empty() || now_ns_ < retry_at_ns_) return;
  epoch_ = ++highest_epoch_;
  state_ = GroupState::kPreparing;
  since_ns_ = now_ns_;
  say("the group's ranks prepare");
  for (int32_t rank = 0; rank < options_.size; ++rank) {
    WorkerRecord& worker = workers_.at(ranks[rank]);
    enter(worker, WorkerPhase::kPreparing);
    worker.epoch = epoch_;
    worker.rank = rank;
    actions_.emplace_back(life::SendAssign{worker.stream, epoch_, rank});
  }
  log(LogLevel::kInfo, "group_forms", {{"epoch", epoch_}, {"size", options_.size}});
}

void GroupLife::say(const std::string& what) {
  reason_ = last_end_.empty() ? what : what + "; the last epoch ended: " + last_end_;
}

WorkerRecord* GroupLife::find(StreamId stream) {
  const auto at = workers_.find(stream);
  return at == workers_.end() ? nullptr : &at->second;
}

WorkerRecord* GroupLife::member(StreamId stream, int64_t epoch, WorkerPhase phase) {
  WorkerRecord* worker = find(stream);
  if (worker == nullptr) return nullptr;
  worker->heard_ns = now_ns_;
  return worker->phase == phase && worker->epoch == epoch ? worker : nullptr;
}

std::vector<WorkerRecord*> GroupLife::members() {
  std::vector<WorkerRecord*> ranks;
  for (auto& [stream, worker] : workers_) {
    if (worker.is_member()) ranks.push_back(&worker);
  }
  std::sort(ranks.begin(), ranks.end(),
            [](const auto* a, const auto* b) { return a->rank < b->rank; });
  return ranks;
}

bool GroupLife::all_members_are(WorkerPhase phase) {
  const auto ranks = members();
  return static_cast<int32_t>(ranks.size()) == options_.size &&
         std::all_of(ranks.begin(), ranks.end(),
                     [&](const WorkerRecord* rank) { return rank->phase == phase; });
}

void GroupLife::enter(WorkerRecord& worker, WorkerPhase phase) {
  worker.phase = phase;
  worker.since_ns = now_ns_;
}

void GroupLife::log(LogLevel level, std::string event, std::vector<LogField> fields) {
  actions_.emplace_back(life::LogEvent{level, std::move(event), std::move(fields)});
}

}  // namespace mimo::coordinator
