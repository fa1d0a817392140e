#pragma once

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/check.h"

namespace mimo::bench {

// Benches that need ranks as processes start themselves again, once a rank, each with a socket to
// the first process. Lines go over the sockets.

inline void write_line(int fd, const std::string& line) {
  const std::string text = line + "\n";
  CHECK_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

inline std::string read_line(int fd) {
  std::string line;
  for (char c = 0; ::read(fd, &c, 1) == 1 && c != '\n';) line += c;
  return line;
}

struct RankProcess {
  pid_t pid = -1;
  int fd = -1;
};

// Starts this program again with `args` and the socket's number behind them.
inline RankProcess start_rank(std::vector<std::string> args) {
  int ends[2];
  CHECK_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  args.insert(args.begin(), "rank");
  args.push_back(std::to_string(ends[1]));
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  CHECK_GE(pid, 0);
  if (pid == 0) {
    ::close(ends[0]);
    ::execv("/proc/self/exe", argv.data());
    std::_Exit(127);
  }
  ::close(ends[1]);
  return {pid, ends[0]};
}

inline void wait_rank(const RankProcess& rank) {
  int status = 0;
  CHECK_EQ(::waitpid(rank.pid, &status, 0), rank.pid);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  ::close(rank.fd);
}

// Each rank says a line (its address); every rank gets all of them.
inline void share_lines(const std::vector<RankProcess>& ranks) {
  std::vector<std::string> lines;
  for (const RankProcess& rank : ranks) lines.push_back(read_line(rank.fd));
  for (const RankProcess& rank : ranks) {
    for (const std::string& line : lines) write_line(rank.fd, line);
  }
}

// Nearest rank; sorts.
inline double percentile(std::vector<double>& values, double p) {
  CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(p * static_cast<double>(values.size() - 1) + 0.5)];
}

}  // namespace mimo::bench
