#include "node/service/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace mimo::node {
namespace {

class WorkerConfigFile : public ::testing::Test {
 protected:
  ~WorkerConfigFile() override { unlink(path_.c_str()); }
  void write(const std::string& text) const { std::ofstream(path_) << text; }
  const std::string path_ =
      ::testing::TempDir() + "mimo-worker-" + std::to_string(getpid()) + ".toml";
};

std::string refusal(const std::vector<std::string>& arguments) {
  const auto parsed = parse_worker_arguments(arguments);
  return parsed.ok() ? "" : parsed.error().message;
}

TEST(WorkerConfig, FlagsAreReadInBothSpellings) {
  const auto parsed =
      parse_worker_arguments({"--coordinator=10.0.0.1:7000", "--worker-id", "w", "--threads", "3"});

  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed.value().config.coordinator, "10.0.0.1:7000");
  EXPECT_EQ(parsed.value().config.worker_id, "w");
  EXPECT_EQ(parsed.value().config.threads, 3);
}

TEST(WorkerConfig, AnIdIsMadeUpWhenNoneIsGiven) {
  const auto a = parse_worker_arguments({"--coordinator", "h:1"});
  const auto b = parse_worker_arguments({"--coordinator", "h:1"});

  EXPECT_NE(a.value().config.worker_id, "");
  EXPECT_NE(a.value().config.worker_id, b.value().config.worker_id);
}

TEST(WorkerConfig, WhatIsWrongIsNamedWithItsValue) {
  EXPECT_NE(refusal({}).find("coordinator is not given"), std::string::npos);
  EXPECT_NE(refusal({"--coordinator", "here"}).find("\"here\"; expected host:port"),
            std::string::npos);
  EXPECT_NE(refusal({"--coordinator", "h:1", "--port", "2"}).find("unknown key \"port\""),
            std::string::npos);
  EXPECT_NE(refusal({"--coordinator", "h:1", "--threads", "2x"}).find("threads \"2x\""),
            std::string::npos);
  EXPECT_NE(refusal({"--coordinator", "h:1", "--threads", "-1"}).find("threads -1"),
            std::string::npos);
  EXPECT_NE(refusal({"--coordinator"}).find("--coordinator has no value"), std::string::npos);
  EXPECT_NE(refusal({"--coordinator", "h:1", "--backend", "tpu"}).find("\"tpu\""),
            std::string::npos);
  EXPECT_NE(refusal({"--coordinator", "h:1", "--device", "-1"}).find("device -1"),
            std::string::npos);
  EXPECT_NE(refusal({"--coordinator", "h:1", "--memory-fraction", "1.5"}).find("1.5"),
            std::string::npos);
  EXPECT_NE(refusal({"--coordinator", "h:1", "--log-level", "loud"}).find("\"loud\""),
            std::string::npos);
  EXPECT_NE(refusal({"stray"}).find("\"stray\""), std::string::npos);
}

TEST(WorkerConfig, AnAddressThatOthersCannotDialIsRefused) {
  EXPECT_NE(refusal({"--coordinator", "h:1", "--listen", "0.0.0.0:0"}).find("advertise"),
            std::string::npos);
  EXPECT_NE(refusal({"--coordinator", "h:1", "--listen", "localhost:0"}).find("\"localhost\""),
            std::string::npos);
  EXPECT_EQ(refusal({"--coordinator", "h:1", "--listen", "0.0.0.0:0", "--advertise", "10.1.2.3"}),
            "");
  EXPECT_EQ(refusal({"--coordinator", "h:1", "--listen", "[::1]:0"}), "");
}

TEST_F(WorkerConfigFile, IsReadAndAFlagIsStronger) {
  write("coordinator = \"h:1\"\nthreads = 4\nlog_level = \"debug\"\n");

  const auto parsed = parse_worker_arguments({"--config", path_, "--threads", "2"});

  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed.value().config.coordinator, "h:1");
  EXPECT_EQ(parsed.value().config.threads, 2);
  EXPECT_EQ(parsed.value().config.level(), LogLevel::kDebug);
}

TEST_F(WorkerConfigFile, AnUnknownKeyOrABadLineIsRefused) {
  write("coordinator = \"h:1\"\ncolour = \"red\"\n");
  EXPECT_NE(refusal({"--config", path_}).find("unknown key \"colour\""), std::string::npos);

  write("coordinator = \n");
  EXPECT_NE(refusal({"--config", path_}).find(path_ + ":1"), std::string::npos);

  write("coordinator = \"h:1\"\nthreads = [1]\n");
  EXPECT_NE(refusal({"--config", path_}).find("threads"), std::string::npos);
  EXPECT_NE(refusal({"--config", path_ + ".not"}), "");
}

TEST(WorkerConfig, PrintsEveryKeyOnce) {
  const auto parsed = parse_worker_arguments({"--coordinator", "h:1", "--worker-id", "w"});

  const std::string line = parsed.value().config.to_string();

  EXPECT_NE(line.find("coordinator=h:1"), std::string::npos);
  EXPECT_NE(line.find("worker_id=w"), std::string::npos);
  EXPECT_NE(worker_usage().find("--worker-id"), std::string::npos);
}

}  // namespace
}  // namespace mimo::node
