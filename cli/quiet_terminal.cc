#include "cli/quiet_terminal.h"

#include <unistd.h>

namespace mimo::cli {

QuietTerminal::QuietTerminal() {
  if (tcgetattr(STDIN_FILENO, &before_) != 0) return;
  termios quiet = before_;
  quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON);
  quiet.c_iflag &= ~static_cast<tcflag_t>(ICRNL);
  changed_ = tcsetattr(STDIN_FILENO, TCSANOW, &quiet) == 0;
}

QuietTerminal::~QuietTerminal() {
  if (changed_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

}  // namespace mimo::cli
