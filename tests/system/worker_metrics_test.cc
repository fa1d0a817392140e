#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "base/check.h"
#include "tests/system/cluster.h"
#include "tests/system/scrape.h"

namespace mimo::testing {
namespace {

// What promtool says of a scrape, and its exit status.
std::pair<int, std::string> promtool(const std::string& text) {
  const std::string in = ::testing::TempDir() + "mimo-scrape-" + std::to_string(getpid());
  std::ofstream(in) << text;
  FILE* pipe = popen(("promtool check metrics < " + in + " 2>&1").c_str(), "r");
  CHECK(pipe != nullptr);
  std::string said;
  char buffer[512];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) said += buffer;
  const int status = pclose(pipe);
  unlink(in.c_str());
  return {WEXITSTATUS(status), said};
}

class WorkerMetrics : public ClusterTest {
 protected:
  std::string metrics_of(int32_t rank) {
    for (const v1::WorkerInfo& worker : manager_->status().workers) {
      if (worker.rank() == rank) return scrape(worker.metrics_address());
    }
    return "";
  }
};

TEST_F(WorkerMetrics, TellOfStepsPagesAndMemoryAndPleasePromtool) {
  start_manager({});
  start_worker("a");
  start_worker("b");
  ASSERT_TRUE(log_.wait_serving(1, seconds(20))) << manager_->status().reason;
  expect_right_answer(1);
  const size_t prompt = cases_.front().prompt.size(), drawn = cases_.front().greedy.size();

  // A step's figures come after its events.
  const std::string last = "vllm:generation_tokens_total{engine=\"0\"}";
  std::string leader;
  for (const auto end = std::chrono::steady_clock::now() + seconds(5);
       value(leader, last) != drawn && std::chrono::steady_clock::now() < end;) {
    leader = metrics_of(0);
  }
  const std::string follower = metrics_of(1);

  EXPECT_EQ(value(leader, "vllm:prompt_tokens_total{engine=\"0\"}"), prompt) << leader;
  EXPECT_EQ(value(leader, last), drawn);
  EXPECT_EQ(value(leader, "vllm:num_requests_running{engine=\"0\"}"), 0);
  EXPECT_GE(value(follower, "mimo_steps_total{rank=\"1\"}"), drawn);
  EXPECT_EQ(value(follower, "mimo_token_masks_total{rank=\"1\"}"), 0);
  EXPECT_GE(value(follower, "mimo_step_seconds_count{rank=\"1\"}"), drawn);
  EXPECT_EQ(follower.find("vllm:num_requests_running{"), std::string::npos);
  for (const auto& [text, rank] : {std::pair(leader, "0"), std::pair(follower, "1")}) {
    for (const std::string plane : {"k", "v"}) {
      double states = 0;
      for (const std::string group : {"full", "window"}) {
        for (const std::string state : {"active", "free"}) {
          states += value(text, "mimo_kv_bytes{group=\"" + group + "\",plane=\"" + plane +
                                    "\",rank=\"" + rank + "\",state=\"" + state + "\"}");
        }
      }
      EXPECT_GT(states, 0);
      EXPECT_EQ(states,
                value(text, "mimo_device_bytes{purpose=\"" + plane + "\",rank=\"" + rank + "\"}"))
          << text;
    }
    const auto [status, said] = promtool(text);
    EXPECT_TRUE(status == 0 || status == 3) << said;  // 3: it dislikes a name
    std::istringstream lines(said);
    for (std::string line; std::getline(lines, line);) {
      // vLLM's names, colon and all, are what routers look for.
      EXPECT_TRUE(line.starts_with("vllm:")) << line;
    }
  }
}

}  // namespace
}  // namespace mimo::testing
