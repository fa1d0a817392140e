#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "tests/system/manager_options.h"

// A coordinator's group in a process of its own, for tests that kill it.
//   group_manager_main MODEL_FOLDER TP LISTEN
// Prints "address HOST:PORT", "serving EPOCH", "lost", a line each; ends when stdin does.
int main(int argc, char** argv) {
  if (argc != 4) return 2;
  auto options = mimo::testing::manager_options(argv[1], std::stoi(argv[2]));
  options.cluster_listen = argv[3];
  const auto say = [](const std::string& line) {
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
  };
  mimo::coordinator::LeaderSink sink;
  sink.on_events = [](const mimo::v1::LeaderEvents&) {};
  sink.on_lost = [&](const mimo::Error&) { say("lost"); };
  sink.on_serving = [&](int64_t epoch) { say("serving " + std::to_string(epoch)); };
  const auto manager = mimo::coordinator::GroupManager::create(options, sink);
  if (!manager.ok()) {
    say("refused: " + manager.error().message);
    return 1;
  }
  say("address " + manager.value()->cluster_address());
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}
