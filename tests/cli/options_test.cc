#include "cli/options.h"

#include <gtest/gtest.h>

#include <vector>

namespace mimo::cli {
namespace {

Result<Command> parse(std::vector<std::string> words) {
  words.insert(words.begin(), "mimo");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  return parse_command_line(static_cast<int>(argv.size()), argv.data());
}

TEST(CommandLine, HelpIsAskedForNotAnError) {
  const auto help = parse({"--help"});

  ASSERT_FALSE(help.ok());
  EXPECT_EQ(help.error().code, Code::kOk);
  for (const char* name : {"serve", "generate", "bench", "plan", "verify", "tokenize"}) {
    EXPECT_NE(help.error().message.find(name), std::string::npos) << name;
  }
}

TEST(CommandLine, EverySubcommandHasHelp) {
  for (const char* name : {"serve", "generate", "bench", "plan", "verify", "tokenize"}) {
    const auto help = parse({name, "--help"});
    ASSERT_FALSE(help.ok());
    EXPECT_EQ(help.error().code, Code::kOk) << name;
    EXPECT_NE(help.error().message.find("--"), std::string::npos) << name;
  }
}

TEST(CommandLine, UnknownWordsAndFlagsAreRefused) {
  for (const auto& words :
       std::vector<std::vector<std::string>>{{},
                                             {"fly"},
                                             {"serve", "--modle", "x"},
                                             {"verify"},
                                             {"plan", "--tp", "17"},
                                             {"plan", "--page-tokens", "48"},
                                             {"plan", "--context", "0"},
                                             {"plan", "--device-gb", "-1"},
                                             {"generate", "-p", "x", "--timeout", "1e30"},
                                             {"verify", "--model", "m", "--experts", "half"},
                                             {"bench", "--requests", "0"},
                                             {"bench", "--concurrency", "0"}}) {
    const auto parsed = parse(words);
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.error().code, Code::kInvalidArgument);
  }
}

TEST(CommandLine, SamplingFieldsThatAreNotGivenStayUnset) {
  const auto parsed =
      parse({"generate", "-p", "x", "--temperature", "0", "--stop", "a", "--stop", "b"});

  ASSERT_TRUE(parsed.ok());
  const auto& options = std::get<GenerateOptions>(parsed.value());
  EXPECT_EQ(options.sampling.temperature, 0.0f);
  EXPECT_FALSE(options.sampling.top_p.has_value());
  EXPECT_FALSE(options.sampling.seed.has_value());
  EXPECT_EQ(options.sampling.stop, (std::vector<std::string>{"a", "b"}));
}

TEST(CommandLine, VerifyTakesItsMatrix) {
  const auto parsed =
      parse({"verify", "--model", "m", "--tp", "4", "--page-tokens", "16", "--chunk", "7"});

  ASSERT_TRUE(parsed.ok());
  const auto& options = std::get<VerifyOptions>(parsed.value());
  EXPECT_EQ(options.tp, 4);
  EXPECT_EQ(options.page_tokens, 16);
  EXPECT_EQ(options.chunk, 7);
}

}  // namespace
}  // namespace mimo::cli
