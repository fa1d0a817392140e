#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "harness.h"
#include "node/engine/engine.h"
#include "node/engine/group_executor.h"
#include "parallel/plan_channel_local.h"

namespace mimo::node {

using model_test::Cluster;
using model_test::ClusterOptions;

// What a sequence's events added up to.
struct Stream {
  std::vector<int32_t> ids;
  FinishReason finish = FinishReason::kNone;
  Error error{Code::kOk, ""};
};

// A whole group in this process: an engine, its ranks as threads, a plan channel between them. Any
// thread may submit, abort and wait.
class ServingGroup {
 public:
  ServingGroup(const std::string& folder, const ClusterOptions& options, int32_t batch_tokens,
               int32_t chunk);
  ~ServingGroup();

  Result<void> submit(SequenceRequest request);
  void abort(int64_t id) { engine_->abort(SequenceId{id}); }
  // The stream when it has ended; it is forgotten then. Fails the test after 300 s.
  Stream wait(int64_t id);
  // Blocks until the sequence has at least `count` tokens or has ended.
  void wait_for_tokens(int64_t id, size_t count);
  // As of the last step, once nothing runs or waits and every page is free again.
  EngineStats wait_idle();
  int64_t num_preemptions();

 private:
  void take(std::vector<SequenceEvent> events);
  bool idle_locked() const;

  const SystemClock clock_;
  std::unique_ptr<Cluster> cluster_;
  parallel::LocalPlanChannel channel_;
  std::unique_ptr<GroupExecutor> executor_;
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> followers_;
  std::mutex mutex_;  // streams and figures, written by the engine's thread
  std::condition_variable changed_;
  std::map<int64_t, Stream> streams_;
  EngineStats stats_;
  std::unique_ptr<Engine> engine_;  // last: its thread ends first
};

}  // namespace mimo::node
