#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/options.h"
#include "cli/process.h"
#include "cli/scratch_folder.h"
#include "mimo/v1/inference.pb.h"

namespace mimo::cli {

// Where a started cluster listens, with the ports that were bound.
struct ClusterAddresses {
  std::string listen;
  std::string http_listen;  // empty: HTTP is not served
  std::string cluster_listen;
  std::string metrics_listen;
  int32_t tp = 0;
};

// A coordinator and its workers as children of this process: started, watched, restarted when they
// die, stopped in order.
//
// Thread:    one, the one that called start().
// Lifetime:  the destructor kills what stop() has not ended.
// Invariant: at most one coordinator and `tp` workers run; a restarted one keeps its addresses.
class Supervisor {
 public:
  static Result<std::unique_ptr<Supervisor>> start(const ClusterOptions& options);

  const ClusterAddresses& addresses() const { return addresses_; }
  pid_t coordinator_pid() const { return children_.front().process->pid(); }

  // Restarts what has died since the last call, at most once a second each. An error: a child dies
  // as soon as it is started, again and again.
  Result<void> tend();
  // Tends until the group serves, `timeout` has passed, or `should_stop` says so.
  Result<v1::ServerInfo> wait_serving(std::chrono::duration<double> timeout,
                                      const std::function<bool()>& should_stop);
  // The coordinator first: it drains, then the workers. What has not ended in time is killed and
  // named in the error.
  Result<void> stop(std::chrono::milliseconds timeout);

 private:
  using SteadyClock = std::chrono::steady_clock;
  struct Child {
    std::string name;
    ChildProcess::Spec spec;
    std::optional<ChildProcess> process;
    SteadyClock::time_point started;
    int32_t quick_deaths = 0;  // in a row
  };

  explicit Supervisor(const ClusterOptions& options) : options_(options) {}
  Result<void> start_coordinator(const std::string& folder);
  Result<void> start_workers(const std::string& folder);
  Result<void> read_addresses(const std::string& path);
  Result<void> spawn(Child& child);
  Result<void> tend_child(Child& child);
  std::string log_path(const std::string& name) const;

  ClusterOptions options_;
  ClusterAddresses addresses_;
  std::unique_ptr<ScratchFolder> scratch_;  // where the coordinator tells its addresses
  std::vector<Child> children_;             // the coordinator first
};

}  // namespace mimo::cli
