#pragma once

#include <termios.h>

namespace mimo::cli {

// While it lives, what is typed at standard input is kept as it is for who reads next, and not
// shown amid what is being printed. Keys that send signals still do.
//
// Thread: one.
class QuietTerminal {
 public:
  QuietTerminal();
  ~QuietTerminal();
  QuietTerminal(const QuietTerminal&) = delete;
  QuietTerminal& operator=(const QuietTerminal&) = delete;

 private:
  bool changed_ = false;
  termios before_ = {};
};

}  // namespace mimo::cli
