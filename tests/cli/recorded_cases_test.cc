#include "cli/recorded_cases.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace mimo::cli {
namespace {

const std::string kTiny = std::string(MIMO_SOURCE_DIR) + "/models/tiny";

TEST(RecordedCases, TheBundledModelsAreRead) {
  const auto cases = read_recorded_cases(kTiny).value();

  ASSERT_EQ(cases.size(), 8u);
  EXPECT_EQ(cases[0].prompt.size(), 33u);
  EXPECT_EQ(cases[0].greedy.size(), 9u);
  EXPECT_EQ(cases[0].vocab, 2048);
  EXPECT_EQ(cases[0].logits.size(), 33u * 2048u);
  EXPECT_TRUE(cases[3].logits.empty());
}

TEST(RecordedCases, WhatIsWrongIsNamed) {
  const std::string folder = ::testing::TempDir() + "/recorded";
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file(kTiny + "/expected_logits.safetensors",
                             folder + "/expected_logits.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  const auto said = [&](const std::string& json) {
    std::ofstream(folder + "/expected.json") << json;
    const auto cases = read_recorded_cases(folder);
    return cases.ok() ? std::string("ok") : cases.error().message;
  };

  EXPECT_NE(said("{").find("expected an object"), std::string::npos);
  EXPECT_NE(said(R"({"cases": []})").find("list \"cases\""), std::string::npos);
  EXPECT_NE(said(R"({"cases": [{"prompt": [1]}]})").find("case 0: greedy"), std::string::npos);
  EXPECT_NE(said(R"({"cases": [{"prompt": ["x"], "greedy": [1]}]})").find("not all integers"),
            std::string::npos);
  EXPECT_NE(said(R"({"cases": [{"prompt": [1], "greedy": [1], "logits": "logits_0"}]})")
                .find("expected F32 [1, vocabulary]"),
            std::string::npos);
  EXPECT_NE(said(R"({"cases": [{"prompt": [1], "greedy": [1], "logits": "nope"}]})").find("nope"),
            std::string::npos);
}

}  // namespace
}  // namespace mimo::cli
