#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "coordinator/api/metrics_server.h"
#include "tests/coordinator/api/front_door.h"

namespace mimo::coordinator {
namespace {

// What a command prints, and how it ends.
std::pair<std::string, int> run(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::string output;
  char buffer[4096];
  while (const size_t n = fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, n);
  const int status = pclose(pipe);
  return {output, WIFEXITED(status) ? WEXITSTATUS(status) : -1};
}

std::string http_get(const std::string& address, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const timeval patience{20, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[65536];
  for (ssize_t n = 0; (n = read(fd, buffer, sizeof buffer)) > 0;) answer.append(buffer, n);
  close(fd);
  const size_t body = answer.find("\r\n\r\n");
  return body == std::string::npos ? "" : answer.substr(body + 4);
}

// The value of the sample that begins so; -1 when there is none.
double sample(const std::string& text, const std::string& name_and_labels) {
  const size_t at = text.find("\n" + name_and_labels + " ");
  if (at == std::string::npos) return -1;
  return std::stod(text.substr(at + name_and_labels.size() + 2));
}

TEST(Reflection, ListsTheServicesAndTheirFiles) {
  FrontDoor door;

  const auto [output, status] = run(std::string(MIMO_REFLECT) + " " + door.server->address());

  EXPECT_EQ(status, 0) << output;
  EXPECT_NE(output.find("mimo.v1.Inference\n"), std::string::npos) << output;
  EXPECT_NE(output.find("grpc.health.v1.Health\n"), std::string::npos) << output;
  EXPECT_NE(output.find("mimo.v1.Chat\n"), std::string::npos) << output;
  EXPECT_NE(output.find("2 files"), std::string::npos) << output;
}

// One exposer for all that is to be seen: its end takes up to two seconds.
TEST(Metrics, AreWellFormedAndCountWhatHappened) {
  auto options = FrontDoor::by_hand();
  options.admission.requests_max = 2;
  FrontDoor door(options);
  auto metrics =
      MetricsServer::create("127.0.0.1:0", door.registry, door.facts, door.sessions).value();
  auto stub = door.stub();
  auto two_outputs = text_request("abcabc", 4);
  two_outputs.mutable_sampling()->set_num_sequences(2);
  Call ended(*stub, two_outputs);
  ASSERT_TRUE(ended.read());
  door.engine.step(4);
  ASSERT_TRUE(ended.finish().ok());
  ASSERT_TRUE(door.admission.wait_empty(std::chrono::seconds(10)));
  Call open(*stub, text_request("hello", 9)), gone(*stub, text_request("hey", 9));
  ASSERT_TRUE(open.read());
  ASSERT_TRUE(gone.read());
  Call refused(*stub, text_request("x", 1));
  ASSERT_FALSE(refused.finish().ok());
  gone.cancel();
  ASSERT_TRUE(door.engine.wait_live(1));

  const std::string text = http_get(metrics->address(), "/metrics");

  const std::string model = "{model_name=\"small\"}";
  EXPECT_EQ(sample(text, "vllm:prompt_tokens_total" + model), 2 + 5 + 3);
  EXPECT_EQ(sample(text, "vllm:generation_tokens_total" + model), 8);
  EXPECT_EQ(sample(text, "vllm:inter_token_latency_seconds_count" + model), 6);
  EXPECT_EQ(sample(text, "vllm:time_to_first_token_seconds_count" + model), 1);
  EXPECT_EQ(sample(text, "vllm:request_time_per_output_token_seconds_count" + model), 2);
  EXPECT_EQ(sample(text, "vllm:num_requests_running" + model), 1);
  EXPECT_EQ(sample(text, "vllm:kv_cache_usage_perc" + model), 0.25);
  const std::string success = "vllm:request_success_total{finished_reason=";
  EXPECT_EQ(sample(text, success + "\"length\",model_name=\"small\"}"), 2);
  EXPECT_EQ(sample(text, success + "\"abort\",model_name=\"small\"}"), 1);
  EXPECT_EQ(sample(text, "mimo_coordinator_requests_refused_total{code=\"OVERLOADED\"}"), 1);
  EXPECT_EQ(sample(text, "mimo_coordinator_group_state{state=\"serving\"}"), 1);
  EXPECT_EQ(sample(text, "mimo_coordinator_group_state{state=\"waiting\"}"), 0);
  EXPECT_EQ(sample(text, "mimo_coordinator_workers{state=\"serving\"}"), 1);
  EXPECT_EQ(sample(text, "mimo_coordinator_epoch"), 1);
  EXPECT_GE(sample(text, "mimo_coordinator_streams"), 1);
  EXPECT_NE(
      text.find("vllm:inter_token_latency_seconds_bucket{model_name=\"small\",le=\"0.0005\"}"),
      std::string::npos);

  // promtool's one objection to vLLM's names is their colon, which it keeps for recording rules.
  std::string plain = text;
  for (size_t at = 0; (at = plain.find("vllm:", at)) != std::string::npos;) plain[at + 4] = '_';
  const std::string path = ::testing::TempDir() + "mimo_metrics_" + std::to_string(getpid());
  std::ofstream(path) << plain;
  const auto [output, status] = run("promtool check metrics < " + path);
  std::remove(path.c_str());
  EXPECT_EQ(status, 0) << output;
  EXPECT_EQ(output, "");
}

TEST(MetricsServer, NamesAnAddressThatIsTaken) {
  FrontDoor door;

  const auto taken =
      MetricsServer::create(door.server->address(), door.registry, door.facts, door.sessions);

  ASSERT_FALSE(taken.ok());
  EXPECT_NE(taken.error().message.find(door.server->address()), std::string::npos);
}

TEST(ApiServer, NamesAnAddressThatIsTaken) {
  FrontDoor door;
  ApiServer::Options options;
  options.listen = door.server->address();

  const auto taken =
      ApiServer::create(options, door.facts, door.sessions, door.admission, door.clock);

  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.error().code, Code::kUnavailable);
  EXPECT_NE(taken.error().message.find(options.listen), std::string::npos);
}

}  // namespace
}  // namespace mimo::coordinator
