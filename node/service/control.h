#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <variant>

#include "base/bounded_queue.h"
#include "base/clock.h"
#include "node/service/heartbeat.h"
#include "node/service/join_link.h"
#include "node/service/rank_epoch.h"

namespace mimo::node {

// The worker's control thread: the only one that knows where the worker stands between coordinator
// and epoch. Others post to it.
//
// Thread:    stop() any; all else its own.
// Lifetime:  what Options refer to outlives it; the destructor expects stop() to have succeeded.
class Control {
 public:
  struct Options {
    RankEpoch::Context context;
    v1::WorkerHello hello;  // without epoch and shard
    std::function<void()> on_shutdown;
    std::function<void()> on_stuck;  // an epoch does not end: only the process's end helps
  };

  explicit Control(Options options);
  ~Control();
  bool stop(int64_t timeout_ms);

 private:
  struct Said {
    int64_t link;
    v1::CoordinatorMessage message;
  };
  struct LinkEnded {
    int64_t link;
    Error error;
    std::shared_ptr<JoinLink> share;  // to be dropped by the control thread
  };
  struct Ready {
    v1::RankReady message;
  };
  struct EpochEnded {
    Error why;
    std::unique_ptr<HeldModel> held;
  };
  struct Leave {};
  using Input = std::variant<Said, LinkEnded, Ready, EpochEnded, Leave>;
  using Inbox = BoundedQueue<Input>;

  void run();
  void dial();
  void on(Said& input);
  void on(LinkEnded& input);
  void on(Ready& input);
  void on(EpochEnded& input);
  void on(Leave& input);
  void on_assign(v1::AssignRank assign);
  void on_form(const v1::FormGroup& form);
  void on_end(const v1::EndEpoch& end);
  void begin(v1::AssignRank assign);
  void end_epoch(const Error& why);
  void send_ended(int64_t epoch, const Error& why);
  void say_good_bye();
  v1::HeldShard held_shard() const;
  int64_t wait_ns() const;
  bool may_dial() const { return link_ == nullptr && !leaving_ && epoch_ == nullptr; }
  void check_unwinding();

  const Options options_;
  const Clock& clock_;
  const std::shared_ptr<Inbox> inbox_;  // shared with links, whose streams may end after this
  Heartbeat heartbeat_;

  std::shared_ptr<JoinLink> link_;  // gRPC has a share too; null between dials
  int64_t link_id_ = 0;
  int64_t dial_at_ns_ = 0;
  int64_t welcome_by_ns_ = 0;  // 0: link_ has been welcomed
  double backoff_s_;
  std::string last_link_error_;
  std::minstd_rand random_;  // jitter between dials

  std::unique_ptr<RankEpoch> epoch_;
  int64_t epoch_link_ = 0;                     // over which it was assigned
  v1::HeldShard epoch_shard_;                  // what the running epoch holds
  std::unique_ptr<HeldModel> held_;            // while no epoch has it
  std::optional<v1::AssignRank> next_assign_;  // waits for the end of epoch_
  int64_t last_epoch_ = 0;
  bool epoch_is_ready_ = false;
  int64_t unwinding_since_ns_ = 0;  // epoch_ was aborted; 0: it was not
  bool leaving_ = false;
  bool said_good_bye_ = false;
  int64_t leave_by_ns_ = 0;

  // stop() waits with a bound for a thread that may hang in a rank's step, which join() cannot.
  std::mutex done_mutex_;
  std::condition_variable done_changed_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace mimo::node
