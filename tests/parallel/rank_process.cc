#include "tests/parallel/rank_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "base/check.h"
#include "parallel/wait.h"

extern char** environ;

namespace mimo::parallel::test {

RankProcess::RankProcess(const std::string& program, const std::vector<std::string>& args) {
  // A program that ended must not take the test with it.
  std::signal(SIGPIPE, SIG_IGN);
  int to_child[2], from_child[2];
  CHECK_EQ(::pipe2(to_child, O_CLOEXEC), 0);
  CHECK_EQ(::pipe2(from_child, O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, to_child[0], STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, from_child[1], STDOUT_FILENO);
  std::vector<std::string> words = {program};
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  CHECK_EQ(::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ), 0);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(to_child[0]);
  ::close(from_child[1]);
  in_ = to_child[1];
  out_ = from_child[0];
}

RankProcess::RankProcess(RankProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      in_(std::exchange(other.in_, -1)),
      out_(std::exchange(other.out_, -1)),
      heard_(std::move(other.heard_)) {}

RankProcess::~RankProcess() {
  if (in_ >= 0) ::close(in_);
  if (out_ >= 0) ::close(out_);
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void RankProcess::say(const std::string& line) {
  const std::string text = line + "\n";
  // To a program that ended: hear() tells.
  [[maybe_unused]] const ssize_t sent = ::write(in_, text.data(), text.size());
}

std::string RankProcess::hear(int64_t timeout_ms) {
  const Deadline deadline = Deadline::after_ms(timeout_ms);
  while (true) {
    if (const size_t end = heard_.find('\n'); end != std::string::npos) {
      const std::string line = heard_.substr(0, end);
      heard_.erase(0, end + 1);
      return line;
    }
    pollfd fd{out_, POLLIN, 0};
    if (::poll(&fd, 1, deadline.remaining_ms()) <= 0) return "";
    char part[4096];
    const ssize_t got = ::read(out_, part, sizeof(part));
    if (got <= 0) return "";
    heard_.append(part, static_cast<size_t>(got));
  }
}

void RankProcess::signal(int number) { CHECK_EQ(::kill(pid_, number), 0); }

int RankProcess::wait() {
  int status = 0;
  CHECK_EQ(::waitpid(pid_, &status, 0), pid_);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int RankProcess::finish() {
  ::close(std::exchange(in_, -1));
  return wait();
}

}  // namespace mimo::parallel::test
