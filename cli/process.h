#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace mimo::cli {

// A child process. It gets SIGTERM when the thread that started it ends, so that nothing is left
// behind by a kill -9 of the parent.
//
// Thread:    one; start() on a thread that outlives the child.
// Lifetime:  the destructor kills what still runs and reaps it.
class ChildProcess {
 public:
  struct Spec {
    std::vector<std::string> argv;  // argv[0] is the program's path
    std::string log_path;           // where stdout and stderr go, appended; empty = as ours
  };

  static Result<ChildProcess> start(const Spec& spec);
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;

  pid_t pid() const { return pid_; }
  // How it ended ("exit 0", "signal 9"), once it has.
  std::optional<std::string> ended();
  bool ended_cleanly() const { return exit_text_ == "exit 0"; }
  void signal(int number);
  // True when it ended within `timeout`.
  bool wait_for(std::chrono::milliseconds timeout);

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}
  void kill_and_reap();

  pid_t pid_ = -1;
  std::string exit_text_;  // empty while it runs
};

// The folder of the running program: its siblings are started from there.
Result<std::string> own_folder();

}  // namespace mimo::cli
