#include <signal.h>

#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/config.h"
#include "coordinator/coordinator.h"

namespace mimo::coordinator {
namespace {

// SIGTERM and SIGINT, asked for instead of delivered. Before any thread starts.
sigset_t take_stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return set;
}

bool stop_wanted_within(const sigset_t& set, long ms) {
  const timespec wait{ms / 1000, (ms % 1000) * 1'000'000};
  return sigtimedwait(&set, nullptr, &wait) > 0;
}

LogLevel log_level(const std::string& name) {
  const std::map<std::string, LogLevel> levels = {{"debug", LogLevel::kDebug},
                                                  {"info", LogLevel::kInfo},
                                                  {"warning", LogLevel::kWarning},
                                                  {"error", LogLevel::kError}};
  return levels.at(name);
}

// Whole or not at all: whoever waits for the file may read it as soon as it is there.
Result<void> print_ports(const std::string& path, const Coordinator::Addresses& addresses,
                         int32_t tp) {
  const std::string part = path + ".part";
  std::ofstream file(part);
  file << "{\"listen\": \"" << addresses.listen << "\", \"http_listen\": \""
       << addresses.http_listen << "\", \"cluster_listen\": \"" << addresses.cluster_listen
       << "\", \"metrics_listen\": \"" << addresses.metrics_listen << "\", \"tp\": " << tp << "}\n";
  file.close();
  if (!file || std::rename(part.c_str(), path.c_str()) != 0)
    return Error{Code::kUnknown, "--print-ports " + path + ": cannot be written"};
  return {};
}

void drain(Coordinator& coordinator, const sigset_t& signals, double timeout_s) {
  log_info("draining", {{"timeout_s", timeout_s}});
  coordinator.begin_drain();
  const SystemClock clock;
  const double deadline_s = clock.now_s() + timeout_s;
  while (!coordinator.wait_idle(std::chrono::milliseconds(50))) {
    if (clock.now_s() >= deadline_s) return log_warning("drain_timeout");
    if (stop_wanted_within(signals, 0)) return log_warning("drain_cut_short");
  }
}

Result<void> run(const CommandLine& line, const sigset_t& signals) {
  const CoordinatorOptions& options = line.options;
  for (const auto& [key, value] : effective_config(options)) log_info("config", {{key, value}});
  TRY_ASSIGN(const auto coordinator, Coordinator::create(options));
  const Coordinator::Addresses& addresses = coordinator->addresses();
  log_info("listening", {{"api", addresses.listen},
                         {"http", addresses.http_listen},
                         {"cluster", addresses.cluster_listen},
                         {"metrics", addresses.metrics_listen}});
  if (!line.print_ports.empty()) TRY(print_ports(line.print_ports, addresses, options.tp));
  while (!stop_wanted_within(signals, 3'600'000)) continue;
  drain(*coordinator, signals, options.api.drain_timeout_s);
  coordinator->stop();
  log_info("stopped");
  return {};
}

int main_with(const std::vector<std::string>& arguments) {
  const sigset_t signals = take_stop_signals();
  const auto line = parse_command_line(arguments);
  if (!line.ok()) {
    std::fprintf(stderr, "mimo-coordinator: %s\n", line.error().message.c_str());
    return 2;
  }
  if (line.value().help) {
    std::fputs(usage().c_str(), stdout);
    return 0;
  }
  log_configure("coordinator", log_level(line.value().options.log_level));
  const auto ran = run(line.value(), signals);
  if (ran.ok()) return 0;
  log_error("failed", {{"error", ran.error().to_string()}});
  return 1;
}

}  // namespace
}  // namespace mimo::coordinator

int main(int argc, char** argv) { return mimo::coordinator::main_with({argv + 1, argv + argc}); }
