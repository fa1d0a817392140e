#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "tests/system/process.h"

namespace mimo::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

const std::string kModel = std::string(MIMO_SOURCE_DIR) + "/models/tiny";

std::string path(const std::string& name) {
  return ::testing::TempDir() + "mimo-kill-" + std::to_string(getpid()) + "-" + name;
}

// The rest of the line that begins with `key`, once the process has printed it.
std::string wait_line(const Process& process, const std::string& key, milliseconds timeout) {
  // Another process's file has no event to wait for; the poll is short and bounded.
  for (const auto end = steady_clock::now() + timeout; steady_clock::now() < end;
       std::this_thread::sleep_for(milliseconds(10))) {
    const std::string text = "\n" + process.output();
    const size_t at = text.find("\n" + key + " ");
    if (at == std::string::npos) continue;
    const size_t begin = at + key.size() + 2, stop = text.find('\n', begin);
    if (stop != std::string::npos) return text.substr(begin, stop - begin);
  }
  return "";
}

std::unique_ptr<Process> start_manager(const std::string& listen, const std::string& name) {
  return std::make_unique<Process>(
      std::vector<std::string>{MIMO_GROUP_MANAGER, kModel, "2", listen}, path(name));
}

TEST(CoordinatorKill, WorkersWaitForItAndKeepTheirWeights) {
  auto manager = start_manager("127.0.0.1:0", "first");
  const std::string address = wait_line(*manager, "address", milliseconds(20'000));
  ASSERT_NE(address, "") << manager->output();
  const auto start_worker = [&](const std::string& id) {
    return std::make_unique<Process>(std::vector<std::string>{MIMO_WORKER, "--coordinator", address,
                                                              "--worker-id", id, "--threads", "1"},
                                     path(id));
  };
  const auto a = start_worker("a"), b = start_worker("b");
  const std::string first = wait_line(*manager, "serving", milliseconds(20'000));
  ASSERT_NE(first, "") << manager->output();

  manager->signal(SIGKILL);
  ASSERT_EQ(manager->wait(5'000), 128 + SIGKILL);
  manager = start_manager(address, "second");

  const std::string second = wait_line(*manager, "serving", milliseconds(20'000));
  ASSERT_NE(second, "") << manager->output() << a->output();
  EXPECT_GT(std::stoll(second), std::stoll(first));
  const std::string kept = "event=rank_ready epoch=" + second + " kept_weights=true";
  EXPECT_NE(a->output().find(kept), std::string::npos) << a->output();
  EXPECT_NE(b->output().find(kept), std::string::npos) << b->output();
  for (const char* name : {"first", "second", "a", "b"}) unlink(path(name).c_str());
}

}  // namespace
}  // namespace mimo::testing
