#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "coordinator/groups/group_state.h"
#include "coordinator/groups/life_events.h"

namespace mimo::coordinator {

// Where a worker stands. kEnding: its epoch is over and it has not said yet that it waits again.
enum class WorkerPhase : uint8_t { kWaiting = 0, kPreparing, kPrepared, kLoading, kReady, kEnding };

// One worker of the registry, as the life of the group sees it.
struct WorkerRecord {
  StreamId stream;
  WorkerFacts facts;
  WorkerPhase phase = WorkerPhase::kWaiting;
  int64_t epoch = 0;     // of its assignment; meaningless while it waits
  int32_t rank = -1;     // -1 while it waits
  int64_t heard_ns = 0;  // when it was heard last
  int64_t since_ns = 0;  // when its phase began
  int32_t failures = 0;  // formations that ended through a fault of its own
  std::string group_address;
  std::string plan_address;
  int64_t kv_bytes = 0;
  RankFigures figures;

  // A rank of the epoch under way.
  bool is_member() const { return phase != WorkerPhase::kWaiting && phase != WorkerPhase::kEnding; }
};

// The life of one group as a state machine: events in, actions out, and no clock, lock or wire.
//
//   waiting -> preparing: enough workers of one backend wait; each is assigned a rank
//   preparing -> loading: every rank has opened its channels; each is told of all
//   loading -> serving:   every rank is ready with the same pools, and the leader's stream is open
//   any -> waiting:       a rank is lost, says that its epoch has ended, or is late
//
// A rank goes first to the worker that holds its weights. After a formation that failed the next
// one waits, twice as long each time; after an epoch that served it comes at once.
//
// Thread:    one.
// Invariant: epochs only grow, also past those that joining workers report; a worker has at most
// one
//            assignment; while the state is kServing every rank is there and was heard in time.
class GroupLife {
 public:
  struct Options {
    int32_t size = 1;
    std::string shard_key;  // AssignRank.shard_key
    int64_t heartbeat_timeout_ns = 5'000'000'000;
    int64_t form_timeout_ns = 30'000'000'000;
    int64_t load_timeout_ns = 3'600'000'000'000;
    int64_t retry_min_ns = 100'000'000;
    int64_t retry_max_ns = 5'000'000'000;
  };

  explicit GroupLife(Options options);

  std::vector<LifeAction> handle(int64_t now_ns, const LifeEvent& event);

  GroupState state() const { return state_; }
  // Why it does not serve, and why it stopped; empty while it serves.
  const std::string& reason() const { return reason_; }
  // The epoch under way, or the last one.
  int64_t epoch() const { return epoch_; }
  const std::map<StreamId, WorkerRecord>& workers() const { return workers_; }
  // The figures that the ranks agreed on; while kServing.
  const RankFigures& figures() const { return figures_; }

 private:
  void on(const life::Joined& e);
  void on(const life::Prepared& e);
  void on(const life::Ready& e);
  void on(const life::Ended& e);
  void on(const life::Heard& e);
  void on(const life::Left& e);
  void on(const life::LeaderOpened& e);
  void on(const life::LeaderLost& e);
  void on(const life::Tick& e);
  void on(const life::ShutDown& e);

  WorkerRecord* find(StreamId stream);
  // The member of the epoch under way that waits for what `epoch` speaks of, else null.
  WorkerRecord* member(StreamId stream, int64_t epoch, WorkerPhase phase);
  std::vector<WorkerRecord*> members();  // by rank
  bool all_members_are(WorkerPhase phase);
  void enter(WorkerRecord& worker, WorkerPhase phase);
  // Workers for ranks 0 .. size-1; empty and reason_ set when there are not enough.
  std::vector<StreamId> choose();
  void try_form();
  void all_prepared();
  void all_ready();
  void lose(StreamId stream, const Error& error, bool hang_up);
  void end_epoch(const Error& error);
  void check_deadlines();
  void say(const std::string& what);  // reason_, and why the last epoch ended
  void log(LogLevel level, std::string event, std::vector<LogField> fields);

  const Options options_;
  GroupState state_ = GroupState::kWaiting;
  std::string reason_;
  std::string last_end_;  // why the last epoch ended; empty once another serves
  std::map<StreamId, WorkerRecord> workers_;
  int64_t epoch_ = 0;
  int64_t highest_epoch_ = 0;  // ever assigned here or reported
  int64_t now_ns_ = 0;
  int64_t since_ns_ = 0;     // when the state began
  int64_t retry_at_ns_ = 0;  // no formation before
  int32_t failed_forms_ = 0;
  bool leader_open_ = false;  // OpenLeader sent, CloseLeader not yet
  int64_t leader_since_ns_ = 0;
  RankFigures figures_;
  std::vector<LifeAction> actions_;  // of the event being handled
};

}  // namespace mimo::coordinator
