#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/groups/group_life.h"

namespace mimo::coordinator {

// Workers and a leader around a GroupLife, on simulated time. Each does what it is told unless a
// test says otherwise. After every event the invariants of GroupLife are checked.
//
// Thread: one.
class SimCluster {
 public:
  explicit SimCluster(GroupLife::Options options);

  struct Hello {
    std::string backend = "cpu";
    int64_t last_epoch = 0;
    std::string held_key = {};
    int32_t held_rank = -1;
    int64_t kv_bytes = 0;          // that it can give
    bool hung = false;             // heartbeats, no answers
    Error refusal{Code::kOk, ""};  // the answer to an assignment, unless kOk
  };
  StreamId join(const std::string& id, const Hello& hello);
  StreamId join(const std::string& id) { return join(id, Hello{}); }
  void leave(StreamId worker);
  void shut_down() { handle(life::ShutDown{}); }
  void silence(StreamId worker) { sims_.at(worker).silent = true; }  // no heartbeats, no answers
  void hang(StreamId worker) { sims_.at(worker).hung = true; }       // heartbeats, no answers
  void refuse(StreamId worker, Error error) { sims_.at(worker).refusal = std::move(error); }
  void accept(StreamId worker) { sims_.at(worker).refusal = {Code::kOk, ""}; }
  void set_figures(StreamId worker, RankFigures figures) { sims_.at(worker).figures = figures; }
  void set_leader_opens(bool opens) { leader_opens_ = opens; }
  void lose_leader();

  // Answers to what was sent are handed over one by one, in an order that `pick` chooses among
  // them (first come by default), until there are none.
  void run_until_quiet();
  void deliver_one(size_t pick);
  size_t num_answers() const { return answers_.size(); }
  // Time passes in steps of 50 ms, with heartbeats, ticks and answers.
  void advance(int64_t ns);
  void tick(int64_t ns);  // one step of any length: heartbeats and a tick, no answers

  GroupLife& life() { return life_; }
  int64_t serving_epoch() const { return serving_epoch_; }  // 0: none
  const std::string& leader_address() const { return leader_address_; }
  int32_t num_lost() const { return num_lost_; }  // epochs that served and ended
  int32_t rank_of(StreamId worker) const;
  int64_t kv_bytes_of(StreamId worker) const { return sims_.at(worker).kv_bytes_told; }
  bool was_told_to_end(StreamId w, int64_t epoch) const { return told_.contains({w, epoch}); }
  bool was_hung_up_on(StreamId worker) const { return hung_up_.contains(worker); }
  bool was_shut_down(StreamId worker) const { return shut_down_.contains(worker); }
  std::vector<StreamId> connected() const;

 private:
  struct Sim {
    int64_t kv_bytes = 0;       // that it can give
    int64_t kv_bytes_told = 0;  // with the formation
    std::string id;
    int64_t assigned = 0;  // epoch; 0: none
    int32_t rank = -1;
    bool silent = false;
    bool hung = false;
    Error refusal{Code::kOk, ""};
    RankFigures figures{.full_pages = 4, .window_pages = 4, .sequences_max = 2};
    std::string held_key;
    int32_t held_rank = -1;
  };

  void handle(const LifeEvent& event);
  void answer(StreamId worker, LifeEvent event);
  void act(const life::SendAssign& a);
  void act(const life::SendForm& a);
  void act(const life::SendEnd& a);
  void act(const life::SendShutdown& a);
  void act(const life::HangUp& a);
  void act(const life::OpenLeader& a);
  void act(const life::StartServing& a);
  void act(const life::CloseLeader& a);
  void act(const life::LogEvent&) {}
  void check_invariants();

  GroupLife::Options options_;
  GroupLife life_;
  int64_t now_ns_ = 0;
  int64_t next_stream_ = 1;
  std::map<StreamId, Sim> sims_;  // those connected
  std::deque<std::pair<StreamId, LifeEvent>> answers_;
  std::map<StreamId, int64_t> heard_ns_;
  bool leader_opens_ = true;
  int64_t leader_epoch_ = 0;  // opened and not yet closed
  int64_t serving_epoch_ = 0;
  int64_t last_epoch_ = 0;
  std::string leader_address_;
  int32_t num_lost_ = 0;
  std::set<std::pair<StreamId, int64_t>> told_;
  std::set<StreamId> hung_up_;
  std::set<StreamId> shut_down_;
};

}  // namespace mimo::coordinator
