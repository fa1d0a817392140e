#include "cli/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace mimo::cli {
namespace {

constexpr std::chrono::milliseconds kLookAgain{10};

// After fork(): only what is safe there.
[[noreturn]] void become(const std::vector<char*>& argv, int log_fd, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(126);  // the parent died before the line above
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (log_fd >= 0) {
    ::dup2(log_fd, STDOUT_FILENO);
    ::dup2(log_fd, STDERR_FILENO);
  }
  ::setpgid(0, 0);  // Ctrl-C reaches the parent alone, which then stops its children in order
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const Spec& spec) {
  CHECK(!spec.argv.empty());
  if (::access(spec.argv[0].c_str(), X_OK) != 0) {
    return Error{Code::kNotFound, spec.argv[0] + ": " + std::strerror(errno)};
  }
  int log_fd = -1;
  if (!spec.log_path.empty()) {
    log_fd = ::open(spec.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_fd < 0) return Error{Code::kUnknown, spec.log_path + ": " + std::strerror(errno)};
  }
  std::vector<char*> argv;
  for (const std::string& argument : spec.argv) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(argv, log_fd, parent);
  if (log_fd >= 0) ::close(log_fd);
  if (pid < 0) return Error{Code::kResourceExhausted, std::string("fork: ") + std::strerror(errno)};
  return ChildProcess(pid);
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), exit_text_(std::move(other.exit_text_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this == &other) return *this;
  kill_and_reap();
  pid_ = std::exchange(other.pid_, -1);
  exit_text_ = std::move(other.exit_text_);
  return *this;
}

ChildProcess::~ChildProcess() { kill_and_reap(); }

void ChildProcess::kill_and_reap() {
  if (pid_ < 0 || ended().has_value()) return;
  ::kill(pid_, SIGKILL);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

std::optional<std::string> ChildProcess::ended() {
  if (pid_ < 0) return "never started";
  if (!exit_text_.empty()) return exit_text_;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  exit_text_ = WIFEXITED(status) ? "exit " + std::to_string(WEXITSTATUS(status))
                                 : "signal " + std::to_string(WTERMSIG(status));
  return exit_text_;
}

void ChildProcess::signal(int number) {
  if (pid_ > 0 && !ended().has_value()) ::kill(pid_, number);
}

bool ChildProcess::wait_for(std::chrono::milliseconds timeout) {
  if (ended().has_value()) return true;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  // Where the system has no such call, or gives none: a look every few milliseconds.
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  while (!ended().has_value()) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) break;
    pollfd waited{fd, POLLIN, 0};  // one that is negative is only slept for
    const auto step = fd >= 0 ? left : std::min(left, kLookAgain);
    ::poll(&waited, 1, static_cast<int>(std::min<int64_t>(step.count(), INT32_MAX)));
  }
  if (fd >= 0) ::close(fd);
  return ended().has_value();
}

Result<std::string> own_folder() {
  char path[4096];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path);
  if (length <= 0) return Error{Code::kUnknown, "/proc/self/exe cannot be read"};
  const std::string program(path, static_cast<size_t>(length));
  return program.substr(0, program.rfind('/'));
}

}  // namespace mimo::cli
