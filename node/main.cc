#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/log.h"
#include "node/service/config.h"
#include "node/service/worker.h"

namespace {

// A step, a formation or a load that is under way may take so long; then something hangs.
constexpr int64_t kStopTimeoutMs = 30'000;

// SIGTERM and SIGINT are waited for below, so every thread is born with them blocked.
sigset_t block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

}  // namespace

int main(int argc, char** argv) {
  const auto parsed =
      mimo::node::parse_worker_arguments(std::vector<std::string>(argv + 1, argv + argc));
  if (!parsed.ok()) {
    std::fprintf(stderr, "mimo-worker: %s\nmimo-worker --help lists the options.\n",
                 parsed.error().message.c_str());
    return 2;
  }
  if (parsed.value().help) {
    std::fputs(mimo::node::worker_usage().c_str(), stdout);
    return 0;
  }
  const mimo::node::WorkerConfig& config = parsed.value().config;
  mimo::log_configure("worker", config.level());
  mimo::log_info("config", {{"effective", config.to_string()}});

  const sigset_t signals = block_signals();
  auto worker = mimo::node::Worker::create(
      config, [] { kill(getpid(), SIGTERM); }, [] { std::_Exit(1); });
  if (!worker.ok()) {
    mimo::log_error("not_started", {{"reason", worker.error().to_string()}});
    return 1;
  }
  int signal = 0;
  sigwait(&signals, &signal);
  mimo::log_info("stops", {{"signal", signal}});
  if (!worker.value()->stop(kStopTimeoutMs)) {
    mimo::log_error("stop_timed_out", {{"timeout_ms", kStopTimeoutMs}});
    std::_Exit(1);
  }
  return 0;
}
