#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "coordinator/groups/group_manager.h"
#include "tests/system/event_log.h"
#include "tests/system/process.h"
#include "tests/system/recorded.h"

namespace mimo::testing {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A GroupManager in this process and mimo-worker processes around it, on models/tiny.
class ClusterTest : public ::testing::Test {
 protected:
  struct Setting {
    int32_t tp = 2;
    double heartbeat_interval_s = 0.2;
    double heartbeat_timeout_s = 2.0;
  };

  ~ClusterTest() override;

  // Again, after stop_manager(): on the same port.
  void start_manager(const Setting& setting);
  void stop_manager() { manager_.reset(); }
  // The process joins by itself.
  Process& start_worker(const std::string& id);
  // Of a worker that has been killed before.
  Process& restart_worker(const std::string& id);
  Process& worker(const std::string& id) { return *workers_.at(id); }
  // The worker that has the rank now.
  std::string worker_of_rank(int32_t rank) const;
  // What the worker's own log says of its weights in this epoch: "kept_weights=true".
  bool kept_weights(const std::string& id, int64_t epoch);

  // Greedy, by ids.
  Result<void> submit(int64_t id, const RecordedCase& record);
  // Streams that go on for hundreds of tokens.
  void load(int64_t first_id, int32_t count);
  // The recorded answer comes back.
  void expect_right_answer(int64_t id);

  EventLog log_;
  std::string address_;
  std::unique_ptr<coordinator::GroupManager> manager_;
  const std::string model_ = std::string(MIMO_SOURCE_DIR) + "/models/tiny";
  const std::vector<RecordedCase> cases_ = recorded_cases(model_);

 private:
  std::string output_path(const std::string& id) const;
  std::map<std::string, std::unique_ptr<Process>> workers_;
  std::vector<std::string> files_;
  int32_t num_started_ = 0;
};

}  // namespace mimo::testing
