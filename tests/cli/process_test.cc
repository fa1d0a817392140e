#include "cli/process.h"

#include <gtest/gtest.h>
#include <sys/time.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace mimo::cli {
namespace {

using std::chrono::milliseconds;

ChildProcess::Spec shell(const std::string& script, const std::string& log = "/dev/null") {
  return {{"/bin/sh", "-c", script}, log};
}

TEST(ChildProcess, ExitStatusAndSignalAreTold) {
  auto good = ChildProcess::start(shell("exit 0")).value();
  auto bad = ChildProcess::start(shell("exit 3")).value();
  auto long_lived = ChildProcess::start(shell("exec sleep 100")).value();
  long_lived.signal(SIGTERM);

  ASSERT_TRUE(good.wait_for(milliseconds(5000)));
  ASSERT_TRUE(bad.wait_for(milliseconds(5000)));
  ASSERT_TRUE(long_lived.wait_for(milliseconds(5000)));
  EXPECT_TRUE(good.ended_cleanly());
  EXPECT_EQ(bad.ended(), "exit 3");
  EXPECT_EQ(long_lived.ended(), "signal 15");
}

TEST(ChildProcess, AProgramThatIsNotThereIsAnError) {
  const auto started = ChildProcess::start({{"/no/such/program"}, ""});

  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.error().code, Code::kNotFound);
  EXPECT_NE(started.error().message.find("/no/such/program"), std::string::npos);
}

TEST(ChildProcess, TheDestructorLeavesNothingRunning) {
  pid_t pid = 0;
  {
    const auto child = ChildProcess::start(shell("exec sleep 100")).value();
    pid = child.pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_NE(::kill(pid, 0), 0);  // reaped: the id is nobody's
}

TEST(ChildProcess, OutputGoesToItsLog) {
  const std::string log = ::testing::TempDir() + "/child.log";
  std::filesystem::remove(log);
  auto child = ChildProcess::start(shell("echo out; echo err >&2", log)).value();
  ASSERT_TRUE(child.wait_for(milliseconds(5000)));

  std::ifstream file(log);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "out\nerr\n");
}

TEST(ChildProcess, ASignalDoesNotEndTheWait) {
  struct sigaction on_alarm {};
  struct sigaction before {};
  on_alarm.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGALRM, &on_alarm, &before), 0);
  auto child = ChildProcess::start(shell("exec sleep 100")).value();
  const itimerval soon{{0, 0}, {0, 10'000}};
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(::setitimer(ITIMER_REAL, &soon, nullptr), 0);

  EXPECT_FALSE(child.wait_for(milliseconds(100)));

  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(100));
  ::sigaction(SIGALRM, &before, nullptr);
}

TEST(ChildProcess, WaitingForALivingOneTimesOut) {
  auto child = ChildProcess::start(shell("exec sleep 100")).value();
  EXPECT_FALSE(child.wait_for(milliseconds(20)));
  EXPECT_FALSE(child.ended().has_value());
}

}  // namespace
}  // namespace mimo::cli
