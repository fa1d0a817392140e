#include "cli/supervisor.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/log.h"
#include "base/mapped_file.h"
#include "cli/client.h"

namespace mimo::cli {
namespace {

constexpr auto kStartTimeout =
    std::chrono::seconds(60);  // a coordinator reads headers of 145 files
constexpr auto kRestartGap = std::chrono::seconds(1);
constexpr auto kQuickDeath = std::chrono::seconds(5);
constexpr int32_t kQuickDeathsMax = 5;
constexpr auto kPoll = std::chrono::milliseconds(50);

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

}  // namespace

Result<std::unique_ptr<Supervisor>> Supervisor::start(const ClusterOptions& options) {
  TRY_ASSIGN(const std::string folder, own_folder());
  std::unique_ptr<Supervisor> supervisor(new Supervisor(options));
  TRY_ASSIGN(supervisor->scratch_, ScratchFolder::create());
  TRY(supervisor->start_coordinator(folder));
  TRY(supervisor->start_workers(folder));
  return supervisor;
}

Result<void> Supervisor::start_coordinator(const std::string& folder) {
  const std::string path = scratch_->path() + "/addresses.json";
  Child child;
  child.name = "coordinator";
  child.spec.log_path = log_path(child.name);
  std::vector<std::string>& argv = child.spec.argv;
  argv = {folder + "/mimo-coordinator",
          "--listen",
          options_.listen,
          "--http-listen",
          options_.http_listen,
          "--cluster-listen",
          options_.cluster_listen,
          "--metrics-listen",
          options_.metrics_listen,
          "--print-ports",
          path};
  const auto add = [&argv](const std::string& flag, const std::string& value) {
    argv.push_back(flag);
    argv.push_back(value);
  };
  if (!options_.config.empty()) add("--config", options_.config);
  if (!options_.model.empty()) add("--model", options_.model);
  if (options_.tp) add("--tp", std::to_string(*options_.tp));
  for (const std::string& setting : options_.set) add("--set", setting);
  TRY(spawn(child));
  const auto deadline = SteadyClock::now() + kStartTimeout;
  while (!exists(path)) {
    if (const auto ended = child.process->ended()) {
      return Error{Code::kFailedPrecondition, "the coordinator ended at its start: " + *ended};
    }
    if (SteadyClock::now() > deadline) {
      return Error{Code::kDeadlineExceeded, "the coordinator did not listen within 60 s"};
    }
    child.process->wait_for(kPoll);
  }
  TRY(read_addresses(path));
  // A restart binds the same ports, so that workers and clients find it again.
  for (size_t i = 1; i + 1 < argv.size(); i += 2) {
    if (argv[i] == "--listen") argv[i + 1] = addresses_.listen;
    if (argv[i] == "--http-listen") argv[i + 1] = addresses_.http_listen;
    if (argv[i] == "--cluster-listen") argv[i + 1] = addresses_.cluster_listen;
    if (argv[i] == "--metrics-listen") argv[i + 1] = addresses_.metrics_listen;
  }
  children_.push_back(std::move(child));
  return {};
}

Result<void> Supervisor::read_addresses(const std::string& path) {
  TRY_ASSIGN(const std::string text, read_file(path, 1 << 16));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto field = [&](const char* name) -> Result<std::string> {
    if (json.is_object() && json.contains(name) && json[name].is_string()) {
      return json[name].get<std::string>();
    }
    return internal_error(path + ": no field " + name + " in " + text);
  };
  TRY_ASSIGN(addresses_.listen, field("listen"));
  TRY_ASSIGN(addresses_.http_listen, field("http_listen"));
  TRY_ASSIGN(addresses_.cluster_listen, field("cluster_listen"));
  TRY_ASSIGN(addresses_.metrics_listen, field("metrics_listen"));
  if (!json.contains("tp") || !json["tp"].is_number_integer()) {
    return internal_error(path + ": no field tp in " + text);
  }
  addresses_.tp = json["tp"].get<int32_t>();
  return {};
}

Result<void> Supervisor::start_workers(const std::string& folder) {
  const auto cores = static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
  const int32_t threads =
      options_.worker_threads > 0 ? options_.worker_threads : std::max(1, cores / addresses_.tp);
  for (int32_t i = 0; i < addresses_.tp; ++i) {
    Child child;
    child.name = "worker-" + std::to_string(i);
    child.spec.log_path = log_path(child.name);
    child.spec.argv = {folder + "/mimo-worker",
                       "--coordinator",
                       addresses_.cluster_listen,
                       "--worker-id",
                       child.name,
                       "--listen",
                       options_.worker_listen,
                       "--metrics",
                       options_.worker_listen,
                       "--threads",
                       std::to_string(threads),
                       "--backend",
                       options_.backend};
    if (options_.backend == "cuda") {
      child.spec.argv.insert(child.spec.argv.end(),
                             {"--device", std::to_string(i), "--memory-fraction",
                              std::to_string(options_.memory_fraction)});
    }
    TRY(spawn(child));
    children_.push_back(std::move(child));
  }
  return {};
}

std::string Supervisor::log_path(const std::string& name) const {
  return options_.log_folder.empty() ? "" : options_.log_folder + "/" + name + ".log";
}

Result<void> Supervisor::spawn(Child& child) {
  TRY_ASSIGN(child.process, ChildProcess::start(child.spec));
  child.started = SteadyClock::now();
  log_info("child_started", {{"child", child.name}, {"pid", child.process->pid()}});
  return {};
}

Result<void> Supervisor::tend_child(Child& child) {
  const auto ended = child.process->ended();
  if (!ended) return {};
  const auto lived = SteadyClock::now() - child.started;
  if (lived < kRestartGap) return {};
  child.quick_deaths = lived < kQuickDeath ? child.quick_deaths + 1 : 0;
  log_warning("child_died", {{"child", child.name}, {"how", *ended}});
  if (child.quick_deaths >= kQuickDeathsMax) {
    return Error{Code::kFailedPrecondition, child.name + " died " +
                                                std::to_string(child.quick_deaths) +
                                                " times within 5 s of its start, last: " + *ended};
  }
  return spawn(child);
}

Result<void> Supervisor::tend() {
  for (Child& child : children_) TRY(tend_child(child));
  return {};
}

Result<v1::ServerInfo> Supervisor::wait_serving(std::chrono::duration<double> timeout,
                                                const std::function<bool()>& should_stop) {
  const auto deadline =
      SteadyClock::now() + std::chrono::duration_cast<SteadyClock::duration>(timeout);
  Client client(addresses_.listen);
  std::string reason = "no answer yet";
  while (SteadyClock::now() < deadline) {
    if (should_stop()) return Error{Code::kCancelled, "stopped before it served"};
    TRY(tend());
    const auto info = client.server_info(1.0);
    if (info.ok() && info.value().state() == v1::ServerInfo::READY) return info.value();
    reason = info.ok() ? info.value().reason() : info.error().message;
    std::this_thread::sleep_for(kPoll);
  }
  return Error{Code::kDeadlineExceeded, "the group does not serve: " + reason};
}

Result<void> Supervisor::stop(std::chrono::milliseconds timeout) {
  const auto deadline = SteadyClock::now() + timeout;
  std::string late;
  const auto end = [&](Child& child) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::max(deadline - SteadyClock::now(), SteadyClock::duration::zero()));
    if (!child.process->wait_for(left)) late += (late.empty() ? "" : ", ") + child.name;
  };
  if (children_.empty()) return {};
  children_.front().process->signal(SIGTERM);
  end(children_.front());
  for (size_t i = 1; i < children_.size(); ++i) children_[i].process->signal(SIGTERM);
  for (size_t i = 1; i < children_.size(); ++i) end(children_[i]);
  children_.clear();
  if (late.empty()) return {};
  return Error{Code::kDeadlineExceeded, "killed, because they did not end in time: " + late};
}

}  // namespace mimo::cli
