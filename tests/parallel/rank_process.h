#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace mimo::parallel::test {

// A program started with `args`, spoken to in lines over its stdin and stdout.
//
// Thread:    one at a time.
// Lifetime:  killed, if it still runs, and waited for by the destructor.
class RankProcess final {
 public:
  RankProcess(const std::string& program, const std::vector<std::string>& args);
  ~RankProcess();
  RankProcess(RankProcess&& other) noexcept;
  RankProcess& operator=(RankProcess&&) = delete;

  void say(const std::string& line);
  // The next line; "" when the program ended or said nothing for `timeout_ms`.
  std::string hear(int64_t timeout_ms = 20000);
  void signal(int number);
  // The exit status; -1 when it did not end by exiting.
  int wait();
  // The same after closing its stdin, which tells it to end.
  int finish();

 private:
  pid_t pid_ = -1;
  int in_ = -1;   // to its stdin
  int out_ = -1;  // from its stdout
  std::string heard_;
};

}  // namespace mimo::parallel::test
