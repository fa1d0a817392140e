#include "cli/bench_load.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>

namespace mimo::cli {
namespace {

TEST(Latencies, QuantilesAreNearestRank) {
  Latencies latencies;
  for (const double value : {4.0, 1.0, 3.0, 2.0}) latencies.add(value);

  EXPECT_EQ(latencies.quantile(0.5), 2.0);
  EXPECT_EQ(latencies.quantile(0.51), 3.0);
  EXPECT_EQ(latencies.quantile(0.99), 4.0);
  EXPECT_EQ(latencies.quantile(1.0), 4.0);
  EXPECT_EQ(latencies.mean(), 2.5);
}

TEST(Latencies, NothingAddedIsZero) {
  Latencies latencies;
  EXPECT_EQ(latencies.quantile(0.5), 0.0);
  EXPECT_EQ(latencies.mean(), 0.0);
}

TEST(BenchLoad, LengthsAreExactAndTheSeedReplays) {
  BenchOptions options;
  options.num_requests = 5;
  options.input_tokens = 17;
  options.output_tokens = 9;
  options.seed = 42;

  const auto once = make_load(options, 100).value();
  const auto again = make_load(options, 100).value();

  ASSERT_EQ(once.size(), 5u);
  for (size_t i = 0; i < once.size(); ++i) {
    EXPECT_EQ(once[i].token_ids().ids_size(), 17);
    EXPECT_EQ(once[i].stopping().max_tokens(), 9);
    EXPECT_TRUE(once[i].stopping().ignore_eos());
    EXPECT_EQ(once[i].SerializeAsString(), again[i].SerializeAsString());
    for (const int32_t id : once[i].token_ids().ids()) {
      EXPECT_GE(id, 0);
      EXPECT_LT(id, 100);
    }
  }
}

TEST(BenchLoad, OpenLoopArrivalsHaveTheAskedRate) {
  BenchOptions options;
  options.rate = 50;

  const auto times = arrival_times(options, 5000);

  EXPECT_EQ(times.front(), 0.0);
  for (size_t i = 1; i < times.size(); ++i) EXPECT_GE(times[i], times[i - 1]);
  EXPECT_NEAR(5000 / times.back(), 50, 3);  // 4 standard deviations of 5000 gaps
}

TEST(BenchLoad, ClosedLoopSendsAtOnce) {
  for (const double time : arrival_times(BenchOptions{}, 10)) EXPECT_EQ(time, 0.0);
}

TEST(BenchLoad, APromptFileIsUsedInTurnAndBadLinesAreNamed) {
  const std::string path = ::testing::TempDir() + "/prompts.jsonl";
  std::ofstream(path) << R"({"text": "one"})"
                      << "\n\n"
                      << R"({"ids": [1, 2], "max_tokens": 3})";
  BenchOptions options;
  options.num_requests = 3;
  options.output_tokens = 8;
  options.prompts = path;

  const auto load = make_load(options, 10).value();

  EXPECT_EQ(load[0].text(), "one");
  EXPECT_EQ(load[0].stopping().max_tokens(), 8);
  EXPECT_EQ(load[1].token_ids().ids_size(), 2);
  EXPECT_EQ(load[1].stopping().max_tokens(), 3);
  EXPECT_EQ(load[2].text(), "one");
  std::ofstream(path) << "{}\n";
  const auto bad = make_load(options, 10);
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().message.find("prompts.jsonl:1"), std::string::npos);
  std::remove(path.c_str());
}

TEST(BenchLoad, NumbersOfAPromptFileThatDoNotFitAreRefused) {
  const std::string path = ::testing::TempDir() + "/prompts_numbers.jsonl";
  BenchOptions options;
  options.num_requests = 1;
  options.prompts = path;
  for (const char* line : {R"({"ids": [4294967297]})", R"({"ids": [-2147483649]})",
                           R"({"text": "a", "max_tokens": "8"})",
                           R"({"text": "a", "max_tokens": 18446744073709551615})"}) {
    std::ofstream(path) << line << "\n";

    const auto bad = make_load(options, 10);

    ASSERT_FALSE(bad.ok()) << line;
    EXPECT_NE(bad.error().message.find("32-bit"), std::string::npos) << bad.error().message;
  }
  std::remove(path.c_str());
}

}  // namespace
}  // namespace mimo::cli
