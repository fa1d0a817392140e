#pragma once

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "base/check.h"

namespace mimo::bench {

inline double cpu_s(int who) {
  rusage usage{};
  getrusage(who, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// What a child does: says its address, then its CPU time for every byte that it is sent.
inline int serve_parent(const std::string& address) {
  std::printf("%s\n", address.c_str());
  std::fflush(stdout);
  for (char byte = 0; ::read(STDIN_FILENO, &byte, 1) == 1;) {
    std::printf("%.6f\n", cpu_s(RUSAGE_SELF));
    std::fflush(stdout);
  }
  return 0;
}

// This program once more as a process of its own, so that its CPU can be told from its clients'.
class ChildServer {
 public:
  // `arguments` make it serve.
  explicit ChildServer(std::vector<std::string> arguments) {
    int to[2], from[2];
    CHECK_EQ(pipe(to), 0);
    CHECK_EQ(pipe(from), 0);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    child_ = fork();
    CHECK_GE(child_, 0);
    if (child_ == 0) {
      dup2(to[0], STDIN_FILENO);
      dup2(from[1], STDOUT_FILENO);
      for (const int fd : {to[0], to[1], from[0], from[1]}) close(fd);
      execv("/proc/self/exe", argv.data());
      _exit(127);
    }
    close(to[0]);
    close(from[1]);
    to_ = to[1];
    from_ = fdopen(from[0], "r");
    address_ = line();
  }
  ~ChildServer() {
    close(to_);
    waitpid(child_, nullptr, 0);
    std::fclose(from_);
  }
  ChildServer(const ChildServer&) = delete;
  ChildServer& operator=(const ChildServer&) = delete;

  const std::string& address() const { return address_; }
  double cpu() {
    CHECK_EQ(write(to_, "c", 1), 1);
    return std::stod(line());
  }

 private:
  std::string line() {
    char text[256];
    CHECK(std::fgets(text, sizeof text, from_) != nullptr);
    return std::string(text, std::strcspn(text, "\n"));
  }

  pid_t child_ = 0;
  int to_ = -1;
  FILE* from_ = nullptr;
  std::string address_;
};

}  // namespace mimo::bench
