#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace mimo::testing {

// A child process whose output goes to a file. It ends with the test, however that ends.
//
// Thread: one.
class Process {
 public:
  // CHECKs that the program can be started.
  Process(const std::vector<std::string>& arguments, std::string output_path);
  ~Process();  // SIGKILL
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  // The exit status (128 + n for signal n), or -1 when it still runs after `timeout_ms`.
  int wait(int64_t timeout_ms);
  std::string output() const;

 private:
  const std::string output_path_;
  pid_t pid_ = -1;
  int pid_fd_ = -1;
  int stdin_fd_ = -1;  // open as long as this lives
  int status_ = -1;
};

}  // namespace mimo::testing
