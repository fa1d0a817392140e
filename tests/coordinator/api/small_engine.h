#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>

#include "base/result.h"
#include "coordinator/groups/group_manager.h"
#include "coordinator/groups/leader_client.h"

namespace mimo::coordinator {

// A leader in the same process that draws what the prompt said: output k is prompt[k % size]. Stop
// ids, min_tokens, max_tokens, logprobs and prompt scores as the real one.
//
// Thread: one of its own for steps; calls from any.
class SmallEngine final : public LeaderClient {
 public:
  struct Options {
    bool by_hand = false;               // steps only when told
    int64_t step_ns = 0;                // and else one so often, or as fast as they are taken
    int32_t sequences_max = 1'000'000;  // live; the next submit is kResourceExhausted
  };

  explicit SmallEngine(const Options& options) : options_(options) {}
  ~SmallEngine() override { stop(); }

  // Serves from now on.
  void connect(LeaderSink sink);
  // Nothing is delivered any more. Safe to call twice.
  void stop();
  Result<void> submit(v1::Submit submit) override;
  void cancel(int64_t sequence_id) override;

  // By hand: so many steps, and they have been delivered.
  void step(int32_t count = 1);
  // The sequence fails with the next step.
  void fail(int64_t sequence_id, const Error& error);
  // The epoch ends; serve() begins the next.
  void lose(const Error& error);
  void serve();

  GroupStatus status() const;
  // Who submitted last.
  std::thread::id submitter() const;
  int32_t num_live() const;
  // False when it has not come to that within 20 s.
  bool wait_live(int32_t count) const;

 private:
  struct Sequence {
    v1::Submit submit;
    int32_t num_drawn = 0;
    Error error{Code::kOk, ""};
  };

  void run();
  void step_locked(std::unique_lock<std::mutex>* lock);
  // True when it was the sequence's last event.
  static bool draw(Sequence* sequence, v1::LeaderEvent* event);

  const Options options_;
  LeaderSink sink_;
  mutable std::mutex mutex_;  // a test's stand-in: its callers want answers, not messages
  mutable std::condition_variable changed_;
  std::map<int64_t, Sequence> live_;
  int64_t num_steps_ = 0;
  std::thread::id submitter_;
  int32_t tickets_ = 0;
  int64_t epoch_ = 0;
  bool serving_ = false;
  bool stopping_ = false;
  bool delivering_ = false;
  std::thread thread_;
};

}  // namespace mimo::coordinator
