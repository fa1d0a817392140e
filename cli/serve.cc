#include <signal.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/supervisor.h"

namespace mimo::cli {
namespace {

constexpr auto kStopTimeout =
    std::chrono::seconds(90);  // over the coordinator's drain, its default
constexpr double kServeTimeoutS = 3600;

// SIGINT and SIGTERM, taken out of their usual way and asked for.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  bool came_within(std::chrono::milliseconds timeout) {
    if (came_) return true;
    timespec wait{timeout.count() / 1000, (timeout.count() % 1000) * 1'000'000};
    came_ = sigtimedwait(&set_, nullptr, &wait) > 0;
    return came_;
  }

 private:
  sigset_t set_;
  bool came_ = false;
};

Result<void> write_ready_file(const std::string& path, const ClusterAddresses& addresses,
                              const v1::ServerInfo& info) {
  nlohmann::ordered_json json;
  json["listen"] = addresses.listen;
  json["http_listen"] = addresses.http_listen;
  json["cluster_listen"] = addresses.cluster_listen;
  json["metrics_listen"] = addresses.metrics_listen;
  json["tp"] = addresses.tp;
  for (const v1::WorkerInfo& worker : info.workers()) {
    json["workers"].push_back({{"id", worker.worker_id()},
                               {"rank", worker.rank()},
                               {"pid", worker.pid()},
                               {"metrics", worker.metrics_address()}});
  }
  // Written beside and moved over, so that a reader sees all of it or nothing.
  const std::string part = path + ".part";
  std::ofstream file(part);
  file << json.dump() << "\n";
  file.close();
  if (!file || std::rename(part.c_str(), path.c_str()) != 0) {
    return Error{Code::kUnknown, path + ": cannot be written"};
  }
  return {};
}

Result<void> serve(const ServeOptions& options, StopSignals& signals) {
  ClusterOptions cluster = options.cluster;
  if (!cluster.tp && cluster.config.empty()) cluster.tp = 2;
  TRY_ASSIGN(const auto supervisor, Supervisor::start(cluster));
  const auto stopping = [&] { return signals.came_within(std::chrono::milliseconds(0)); };
  const auto info =
      supervisor->wait_serving(std::chrono::duration<double>(kServeTimeoutS), stopping);
  if (info.ok()) {
    const ClusterAddresses& addresses = supervisor->addresses();
    log_info("serving", {{"grpc", addresses.listen},
                         {"http", "http://" + addresses.http_listen + "/"},
                         {"metrics", "http://" + addresses.metrics_listen + "/metrics"},
                         {"tp", addresses.tp}});
    if (!options.ready_file.empty()) {
      TRY(write_ready_file(options.ready_file, addresses, info.value()));
    }
    while (!signals.came_within(std::chrono::milliseconds(100))) TRY(supervisor->tend());
  } else if (info.error().code != Code::kCancelled) {
    return info.error();
  }
  log_info("stopping");
  TRY(supervisor->stop(kStopTimeout));
  log_info("stopped");
  return {};
}

}  // namespace

int run_serve(const ServeOptions& options) {
  if (options.cluster.model.empty() && options.cluster.config.empty()) {
    return fail(invalid_argument("--model or --config: expected one of them"));
  }
  StopSignals signals;
  const auto done = serve(options, signals);
  return done.ok() ? 0 : fail(done.error());
}

}  // namespace mimo::cli
