#include "cli/commands.h"

#include <cstdio>

namespace mimo::cli {

int fail(const Error& error) {
  std::fprintf(stderr, "mimo: %s\n", error.message.c_str());
  return 1;
}

}  // namespace mimo::cli
