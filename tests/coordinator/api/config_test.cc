#include "coordinator/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "coordinator/generation_defaults.h"

namespace mimo::coordinator {
namespace {

// A file that lives as long as this.
class TempFile {
 public:
  explicit TempFile(const std::string& text)
      : path(::testing::TempDir() + "mimo_config_" + std::to_string(getpid())) {
    std::ofstream(path) << text;
  }
  ~TempFile() { std::remove(path.c_str()); }
  const std::string path;
};

std::string refusal(const std::vector<std::string>& arguments) {
  const auto line = parse_command_line(arguments);
  return line.ok() ? "accepted" : line.error().message;
}

TEST(Config, FileThenFlagsThenLaterFlags) {
  const TempFile file(R"(
    model = "/models/m"
    tp = 2
    [api]
    listen = "0.0.0.0:1"
    requests_max = 7
    drain_timeout_s = 5
    [debug]
    logits = true
  )");

  const auto line = parse_command_line({"--tp", "4", "--config=" + file.path, "--set",
                                        "api.requests_max=8", "--set=api.requests_max=9",
                                        "--listen", "127.0.0.1:0", "--print-ports", "/tmp/p"});

  ASSERT_TRUE(line.ok()) << line.error().message;
  const CoordinatorOptions& options = line.value().options;
  EXPECT_EQ(options.model, "/models/m");
  EXPECT_EQ(options.tp, 4);
  EXPECT_EQ(options.api.listen, "127.0.0.1:0");
  EXPECT_EQ(options.api.requests_max, 9);
  EXPECT_EQ(options.api.drain_timeout_s, 5.0);
  EXPECT_TRUE(options.debug.logits);
  EXPECT_EQ(line.value().print_ports, "/tmp/p");
}

TEST(Config, RefusesWhatItDoesNotKnowByName) {
  EXPECT_EQ(refusal({"--modell", "x"}), "--modell: no such flag");
  EXPECT_EQ(refusal({"--set", "api.listn=x"}), "\"api.listn\": no such key");
  EXPECT_EQ(refusal({"--set", "tp"}), "--set tp: expected key=value");
  EXPECT_EQ(refusal({"--model"}), "--model: expected a value behind it");
  const TempFile file("[api]\nlistn = \"x\"\n");
  EXPECT_EQ(refusal({"--config", file.path}), file.path + ": \"api.listn\": no such key");
}

TEST(Config, RefusesWrongTypesAndBounds) {
  const auto set = [](const std::string& setting) {
    return refusal({"--model", "m", "--set", setting});
  };
  EXPECT_EQ(set("tp=two"), "tp = two: expected a whole number");
  EXPECT_EQ(set("tp=0"), "tp = 0: expected [1, 64]");
  EXPECT_EQ(set("tp=99999999999"), "tp = 99999999999: expected a whole number of 32 bits");
  EXPECT_EQ(set("api.stall_s=nan"), "api.stall_s = nan: expected [0.1, 86400]");
  EXPECT_EQ(set("debug.logits=yes"), "debug.logits = yes: expected true or false");
  EXPECT_EQ(set("experts=rows"),
            "experts = \"rows\": expected one of \"\", \"columns\", \"whole\"");
  EXPECT_EQ(set("engine.mode=f16"),
            "engine.mode = \"f16\": expected one of \"auto\", \"f32\", \"device\", \"invariant\"");
  EXPECT_EQ(set("api.listen=localhost"),
            "api.listen = \"localhost\": expected host:port, port 0 to 65535");
  EXPECT_EQ(set("cluster.heartbeat_timeout_s=0.2"),
            "cluster.heartbeat_timeout_s = 0.2: expected more than cluster.heartbeat_interval_s = "
            "0.5");
  EXPECT_EQ(refusal({}), "model is not set: expected a checkpoint's folder");
  const TempFile file("tp = \"2\"\n");
  EXPECT_EQ(refusal({"--config", file.path}), file.path + ": tp = \"2\": expected a whole number");
  const TempFile broken("tp = \n");
  EXPECT_NE(refusal({"--config", broken.path}).find(broken.path + ":1:"), std::string::npos);
}

TEST(Config, PrintsEveryKeyWithItsValueInForce) {
  const auto line = parse_command_line({"--model", "m", "--set", "engine.kv_bytes=5"}).value();
  int found = 0;
  for (const auto& [key, value] : effective_config(line.options)) {
    if (key == "engine.kv_bytes") found += value == "5";
    if (key == "cluster.listen") found += value == "127.0.0.1:50052";
    EXPECT_NE(usage().find("  " + key + " = "), std::string::npos);
  }
  EXPECT_EQ(found, 2);
}

TEST(GenerationDefaults, AreReadOrRefusedWhole) {
  RequestLimits limits;
  const TempFile good(R"({"do_sample": true, "temperature": 0.7, "top_p": 0.95, "top_k": 20})");
  ASSERT_TRUE(apply_generation_defaults(good.path, &limits).ok());
  EXPECT_EQ(limits.temperature, 0.7f);
  EXPECT_EQ(limits.top_p, 0.95f);
  EXPECT_EQ(limits.top_k, 20);

  const TempFile bad(R"({"temperature": 0.2, "top_p": 1.5})");
  const auto refused = apply_generation_defaults(bad.path, &limits);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("top_p = 1.5"), std::string::npos);
  EXPECT_EQ(limits.temperature, 0.7f);

  const TempFile greedy(R"({"do_sample": false})");
  ASSERT_TRUE(apply_generation_defaults(greedy.path, &limits).ok());
  EXPECT_EQ(limits.temperature, 0.0f);
}

}  // namespace
}  // namespace mimo::coordinator
