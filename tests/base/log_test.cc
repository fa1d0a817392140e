#include "base/log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>

namespace mimo {
namespace {

std::string printed(LogLevel level, const std::function<void()>& log) {
  log_configure("test", level);
  ::testing::internal::CaptureStderr();
  log();
  return ::testing::internal::GetCapturedStderr();
}

TEST(Log, OneLineWithItsFields) {
  const std::string line = printed(LogLevel::kInfo, [] {
    log_info("joined", {{"rank", 3}, {"ok", true}, {"why", "two words"}, {"empty", ""}});
  });

  EXPECT_NE(line.find(" INFO test event=joined rank=3 ok=true why=\"two words\" empty=\"\"\n"),
            std::string::npos)
      << line;
  EXPECT_EQ(line[4], '-');  // 2026-...
  EXPECT_EQ(line[23], 'Z');
}

TEST(Log, QuotesAreEscapedAndALineStaysOne) {
  const std::string line = printed(LogLevel::kInfo, [] {
    log_warning("odd", {{"text", "a\"b\\c\nd"}});
  });

  EXPECT_NE(line.find(R"(text="a\"b\\c\nd")"), std::string::npos) << line;
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
}

TEST(Log, LinesBelowTheLevelAreDropped) {
  EXPECT_EQ(printed(LogLevel::kWarning, [] { log_info("quiet"); }), "");
  EXPECT_NE(printed(LogLevel::kWarning, [] { log_error("loud"); }), "");
}

}  // namespace
}  // namespace mimo
