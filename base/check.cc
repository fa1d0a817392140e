#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace mimo {

void check_failed(const char* file, int line, const char* what, const std::string& values) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s%s%s\n", file, line, what,
               values.empty() ? "" : ": ", values.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace mimo
