#include "tests/system/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "base/check.h"

namespace mimo::testing {

Process::Process(const std::vector<std::string>& arguments, std::string output_path)
    : output_path_(std::move(output_path)) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const int out = open(output_path_.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  CHECK_GE(out, 0);
  int in[2];
  CHECK_EQ(pipe2(in, O_CLOEXEC), 0);
  const pid_t parent = getpid();
  pid_ = fork();
  CHECK_GE(pid_, 0);
  if (pid_ == 0) {
    // Only what may be called between fork and exec in a process with threads.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(126);
    dup2(in[0], STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(out);
  close(in[0]);
  stdin_fd_ = in[1];
  pid_fd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  CHECK_GE(pid_fd_, 0);
}

Process::~Process() {
  if (status_ < 0) {
    signal(SIGKILL);
    wait(10'000);
  }
  close(pid_fd_);
  close(stdin_fd_);
}

void Process::signal(int number) const {
  if (status_ < 0) kill(pid_, number);
}

int Process::wait(int64_t timeout_ms) {
  if (status_ >= 0) return status_;
  pollfd poll_fd = {.fd = pid_fd_, .events = POLLIN, .revents = 0};
  if (poll(&poll_fd, 1, static_cast<int>(timeout_ms)) != 1) return -1;
  int status = 0;
  CHECK_EQ(waitpid(pid_, &status, 0), pid_);
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return status_;
}

std::string Process::output() const {
  std::ostringstream text;
  text << std::ifstream(output_path_).rdbuf();
  return text.str();
}

}  // namespace mimo::testing
