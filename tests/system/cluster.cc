#include "tests/system/cluster.h"

#include <signal.h>
#include <unistd.h>

#include <iostream>

#include "base/check.h"
#include "tests/system/manager_options.h"

namespace mimo::testing {

ClusterTest::~ClusterTest() {
  if (HasFailure()) {
    for (const auto& [id, process] : workers_) {
      std::cout << "--- output of " << id << "\n" << process->output();
    }
  }
  workers_.clear();
  manager_.reset();
  for (const std::string& file : files_) unlink(file.c_str());
}

void ClusterTest::start_manager(const Setting& setting) {
  coordinator::GroupManager::Options options = manager_options(model_, setting.tp);
  if (!address_.empty()) options.cluster_listen = address_;
  options.heartbeat_interval_s = setting.heartbeat_interval_s;
  options.heartbeat_timeout_s = setting.heartbeat_timeout_s;
  auto manager = coordinator::GroupManager::create(options, log_.sink());
  ASSERT_TRUE(manager.ok()) << manager.error().to_string();
  manager_ = std::move(manager).value();
  address_ = manager_->cluster_address();
}

Process& ClusterTest::start_worker(const std::string& id) {
  CHECK(!workers_.contains(id));
  const std::string path = output_path(id) + "." + std::to_string(++num_started_);
  files_.push_back(path);
  workers_[id] =
      std::make_unique<Process>(std::vector<std::string>{MIMO_WORKER, "--coordinator", address_,
                                                         "--worker-id", id, "--threads", "1"},
                                path);
  return *workers_[id];
}

Process& ClusterTest::restart_worker(const std::string& id) {
  workers_.erase(id);
  return start_worker(id);
}

std::string ClusterTest::output_path(const std::string& id) const {
  return ::testing::TempDir() + "mimo-worker-" + std::to_string(getpid()) + "-" + id;
}

std::string ClusterTest::worker_of_rank(int32_t rank) const {
  for (const v1::WorkerInfo& worker : manager_->status().workers) {
    if (worker.rank() == rank) return worker.worker_id();
  }
  return "";
}

bool ClusterTest::kept_weights(const std::string& id, int64_t epoch) {
  const std::string line = "event=rank_ready epoch=" + std::to_string(epoch) + " kept_weights=true";
  return worker(id).output().find(line) != std::string::npos;
}

Result<void> ClusterTest::submit(int64_t id, const RecordedCase& record) {
  v1::Submit submit;
  submit.set_sequence_id(id);
  submit.mutable_prompt()->Assign(record.prompt.begin(), record.prompt.end());
  submit.set_top_p(1);
  submit.set_repetition_penalty(1);
  submit.set_max_tokens(static_cast<int32_t>(record.greedy.size()));
  submit.set_num_logprobs(-1);
  submit.set_num_prompt_logprobs(-1);
  return manager_->submit(std::move(submit));
}

void ClusterTest::load(int64_t first_id, int32_t count) {
  for (int64_t id = first_id; id < first_id + count; ++id) {
    v1::Submit submit;
    submit.set_sequence_id(id);
    const RecordedCase& record = cases_[static_cast<size_t>(id) % cases_.size()];
    submit.mutable_prompt()->Assign(record.prompt.begin(), record.prompt.end());
    submit.set_temperature(1);
    submit.set_top_p(1);
    submit.set_repetition_penalty(1);
    submit.set_seed(static_cast<uint64_t>(id));
    submit.set_max_tokens(600);
    submit.set_ignore_stop_ids(true);
    submit.set_num_logprobs(-1);
    submit.set_num_prompt_logprobs(-1);
    const Result<void> taken = manager_->submit(std::move(submit));
    ASSERT_TRUE(taken.ok()) << taken.error().to_string();
  }
  for (int64_t id = first_id; id < first_id + count; ++id) {
    ASSERT_TRUE(log_.wait_tokens(id, 3, seconds(20))) << "sequence " << id;
  }
}

void ClusterTest::expect_right_answer(int64_t id) {
  const RecordedCase& record = cases_.front();
  const Result<void> taken = submit(id, record);
  ASSERT_TRUE(taken.ok()) << taken.error().to_string();
  ASSERT_TRUE(log_.wait_finished(id, seconds(20)));
  EXPECT_EQ(log_.sequence(id).tokens, record.greedy) << log_.sequence(id).error_message;
}

}  // namespace mimo::testing
