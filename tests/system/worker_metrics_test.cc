#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "base/check.h"
#include "tests/system/cluster.h"

namespace mimo::testing {
namespace {

// GET /metrics of 127.0.0.1:port, the body.
std::string scrape(const std::string& address) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const timeval timeout = {.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  CHECK_EQ(connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  CHECK_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t n = 0; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, n);
  close(fd);
  const size_t body = answer.find("\r\n\r\n");
  return body == std::string::npos ? "" : answer.substr(body + 4);
}

// The value of a series, as it is written; NaN when it is not there.
double value(const std::string& text, const std::string& series) {
  const size_t at = ("\n" + text).find("\n" + series + " ");
  return at == std::string::npos ? NAN : std::stod(text.substr(at + series.size() + 1));
}

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
